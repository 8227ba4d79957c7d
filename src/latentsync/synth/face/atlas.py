"""Where each texel of the skin lies on the neutral head, and where the lips are in the texture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter

from latentsync.core.files import atomic_path
from latentsync.core.values import Float
from latentsync.synth.face.fields import spline
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.render import materials as mat

FACE_TEXELS = 1024
ATLAS_VERSION = 1


@dataclass(frozen=True, eq=False)
class Atlas:
    """Maps that skin is painted by.

    Attributes:
        face: (n, n, 3) float32 rest position in cm of each face texel, n = 1024 for a big model; row = v, column = u.
        head: (n/2, n/2, 3) the same for the back of the head.
        landmarks: (68, 2) float32 texel coordinates x, y in the face map; NaN where a landmark is not on the face map.
        lips: (n, n) float32 in [0, 1], soft outline of the lips.
        wet_line: (n, n) float32 in [0, 1], 1 where the lips meet.
    """

    face: Float
    head: Float
    landmarks: Float
    lips: Float
    wet_line: Float


def _positions(mesh: HeadMesh, material: int, offset: float, size: int) -> Float:
    """(size, size, 3) rest positions; texels outside the island take the nearest known one."""
    chosen = mesh.material == material
    unique, first = np.unique(mesh.tri_uv[chosen].ravel(), return_index=True)
    uv, points = mesh.uv[unique] - [offset, 0], mesh.base[mesh.tri[chosen].ravel()[first]]
    grid = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size
    out = LinearNDInterpolator(uv, points)(grid).astype(np.float32)
    empty = np.isnan(out[..., 0])
    out[empty] = NearestNDInterpolator(uv, points)(grid[empty])
    return out


def _landmark_texels(mesh: HeadMesh, texels: int) -> Float:
    chosen = mesh.material == mat.SKIN
    first: dict[int, int] = {}
    for vertex, coordinate in zip(mesh.tri[chosen].ravel(), mesh.tri_uv[chosen].ravel(), strict=True):
        first.setdefault(int(vertex), int(coordinate))
    nowhere = np.full(2, np.nan, np.float32)
    rows = [mesh.uv[first[int(i)]] if int(i) in first else nowhere for i in mesh.landmarks]
    return (np.array(rows) * texels).astype(np.float32)


def build_atlas(mesh: HeadMesh, texels: int = FACE_TEXELS) -> Atlas:
    """Compute the maps; about ten seconds for the full face model."""
    import cv2

    unit = texels / FACE_TEXELS
    landmarks = _landmark_texels(mesh, texels)
    outline, inner = np.zeros((2, texels, texels), np.float32)
    for canvas, points in ((outline, landmarks[48:60]), (inner, landmarks[60:68])):
        cv2.fillPoly(canvas, [np.round(spline(points) * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
    lips = gaussian_filter(outline, 2.6 * unit)
    distance = distance_transform_edt(inner < 0.5)
    wet = np.exp(-((distance / (9.0 * unit)) ** 2)) * (lips > 0.2)
    return Atlas(
        face=_positions(mesh, mat.SKIN, 0, texels),
        head=_positions(mesh, mat.SCALP, 1, texels // 2),
        landmarks=landmarks,
        lips=lips.astype(np.float32),
        wet_line=wet.astype(np.float32),
    )


def cached_atlas(mesh: HeadMesh, folder: Path, key: str) -> Atlas:
    """`build_atlas`, kept in `folder` under the hash `key` of the face model."""
    path = folder / f"atlas-v{ATLAS_VERSION}-{key[:16]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as data:
            return Atlas(**{k: data[k].astype(np.float32) for k in data.files})
    atlas = build_atlas(mesh)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        np.savez(part, **{k: getattr(atlas, k) for k in ("face", "head", "landmarks", "lips", "wet_line")})
    return atlas
