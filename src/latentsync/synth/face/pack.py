"""Pack the official ICT-FaceKit Light files (MIT) into one npz that `load_face_model` reads.

    git clone https://github.com/ICT-VGL/ICT-FaceKit
    python -m latentsync.synth.face.pack ICT-FaceKit/FaceXModel ict_facekit_light.npz

`latentsync models fetch face-model` does both steps. Offsets are stored as int16 with one scale per shape, expressions
sparsely: 160 files of 2.6 MB become about 17 MB.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.errors import WeightsError
from latentsync.core.files import atomic_path
from latentsync.synth.arrays import Bools, Ints, Real

TRIANGLES_SHA256 = "8ab3c6fcb4f97d57fc9b5b6377ad687730ad039f558357f5cf16257cccf0a93b"
"""Of the (52220, 3) int32 triangles, quads split, of that revision."""
NEUTRAL = "generic_neutral_mesh.obj"
NUM_IDENTITIES = 100
SMALLEST_CM = 2e-4
"""Expression offsets under this are dropped."""


@dataclass(frozen=True, eq=False)
class Topology:
    """Triangles (quads split as a fan) with texture coordinates and material of each; see the npz arrays."""

    uv: Real
    tri: Ints
    tri_uv: Ints
    material: Ints
    names: list[str]


def read_points(path: Path) -> Real:
    """(V, 3) float32 vertices of an OBJ file."""
    if not path.is_file():
        raise WeightsError(f"{path}: missing. Give the folder FaceXModel of a complete ICT-FaceKit checkout.")
    with path.open("rb") as file:
        rows = [line.split()[1:4] for line in file if line.startswith(b"v ")]
    return np.array(rows, dtype=np.float32)


def read_topology(path: Path) -> Topology:
    """Faces, texture coordinates and materials of an OBJ file."""
    uv: list[list[float]] = []
    tri: list[list[int]] = []
    tri_uv: list[list[int]] = []
    material: list[int] = []
    names: list[str] = []
    current = -1
    with path.open(encoding="utf-8") as file:
        for line in file:
            word, *rest = line.split() or [""]
            if word == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif word == "usemtl":
                if rest[0] not in names:
                    names.append(rest[0])
                current = names.index(rest[0])
            elif word == "f":
                corners = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in rest]
                for k in range(1, len(corners) - 1):
                    chosen = (corners[0], corners[k], corners[k + 1])
                    tri.append([c[0] for c in chosen])
                    tri_uv.append([c[1] for c in chosen])
                    material.append(current)
    corners_, coordinates, of = (np.array(x, np.int32) for x in (tri, tri_uv, material))
    return Topology(np.array(uv, np.float32), corners_, coordinates, of, names)


def quantise(delta: Real) -> tuple[np.ndarray, float]:
    """(…) offsets as int16 and the scale that gives them back."""
    scale = max(float(np.abs(delta).max()), 1e-9) / 32767
    return np.round(delta / scale).astype(np.int16), scale


def visible_triangles(tri: Ints) -> Bools | None:
    """(T,) which triangles of the ICT model can be seen from the front while talking; None for another mesh."""
    if hashlib.sha256(np.ascontiguousarray(tri, np.int32).tobytes()).hexdigest() != TRIANGLES_SHA256:
        return None
    packed = zlib.decompress(files("latentsync").joinpath("assets/synth/ict_visible.bin").read_bytes())
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=len(tri)).astype(bool)


def pack_face_model(folder: Path, out: Path) -> None:
    """Read the OBJ files of `folder` and write the packed model `out`.

    Raises: WeightsError: a file is missing.
    """
    base, shape = read_points(folder / NEUTRAL), read_topology(folder / NEUTRAL)
    modes = [quantise(read_points(folder / f"identity{k:03d}.obj") - base) for k in range(NUM_IDENTITIES)]
    names, index, values, scales, offsets = [], [], [], [], [0]
    for path in sorted(folder.glob("*.obj")):
        if path.name == NEUTRAL or path.stem.startswith("identity"):
            continue
        delta = read_points(path) - base
        rows = np.where(np.abs(delta).max(1) > SMALLEST_CM)[0]
        q, scale = quantise(delta[rows]) if len(rows) else (np.zeros((0, 3), np.int16), 1.0)
        names.append(path.stem)
        index.append(rows.astype(np.int32))
        values.append(q)
        scales.append(scale)
        offsets.append(offsets[-1] + len(rows))
    marks = folder / "vertex_indices.json"
    if not marks.is_file():
        raise WeightsError(f"{marks}: missing. Give the folder FaceXModel of a complete ICT-FaceKit checkout.")
    landmarks = np.array(json.loads(marks.read_text(encoding="utf-8"))["idx_to_landmark_verts"])
    seen = visible_triangles(shape.tri)
    more: dict[str, Any] = {} if seen is None else {"tri_visible": seen}
    with atomic_path(out) as part:
        np.savez_compressed(
            part,
            **more,
            base=base,
            uv=shape.uv,
            tri=shape.tri,
            tri_uv=shape.tri_uv,
            tri_mat=shape.material.astype(np.int8),
            mat_names=np.array(shape.names),
            id_q=np.stack([q for q, _ in modes]),
            id_s=np.array([s for _, s in modes], np.float32),
            ex_names=np.array(names),
            ex_idx=np.concatenate(index),
            ex_q=np.concatenate(values),
            ex_s=np.array(scales, np.float32),
            ex_off=np.array(offsets, np.int64),
            lmk68=landmarks,
        )


if __name__ == "__main__":
    pack_face_model(Path(sys.argv[1]), Path(sys.argv[2]))
