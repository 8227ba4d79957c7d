"""Cut the insides of open mouths out of synthetic heads, for people who are only seen with closed lips.

python recipes/tiny/interiors.py --data E --people id00019_000 … --out src/latentsync/assets/interiors.safetensors

E: `latentsync data build --training` of what `latentsync synth` made. Of each person the frame is taken in which the
mouth is open widest while the head looks ahead; `--sheet` shows those of all people, to choose from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file
from safetensors.torch import load_file

from latentsync.faces import topology as mesh
from latentsync.generation.tiny.borrowed_mouth import Interiors, detail_of, light_of
from latentsync.generation.tiny.lip_edges import edges_found
from latentsync.metrics.lips import lip_opening
from latentsync.training.datasets import open_data
from latentsync.training.datasets.lip_parameters import LipParameterBasis

AHEAD = 0.12
"""How far the tip of the nose may lie beside the middle of the eyes, in their distance."""
PATCH = (56, 104)
SHEET_COLUMNS = 12


def frame_of(meshes: np.ndarray) -> int | None:
    """The widest open mouth of (F, 468, 2) whose head looks ahead."""
    across = meshes[:, mesh.RIGHT_EYE_OUTER] - meshes[:, mesh.LEFT_EYE_OUTER]
    middle = (meshes[:, mesh.RIGHT_EYE_OUTER] + meshes[:, mesh.LEFT_EYE_OUTER]) / 2
    ahead = np.abs((meshes[:, 4] - middle)[:, 0]) / np.hypot(*across.T) < AHEAD
    return int(np.argmax(np.where(ahead, lip_opening(meshes), -1))) if ahead.any() else None


def interior(crop: np.ndarray, meshes: np.ndarray, frame: int, code: LipParameterBasis) -> dict[str, np.ndarray]:
    """What `Interiors` holds of one mouth."""
    side = len(crop)
    places = edges_found(crop, (meshes[frame][list(mesh.LIPS)].astype(np.float32) + 0.5) / side)
    lips = places * side - np.float32(0.5)
    corner = np.rint(lips[20:].mean(axis=0) - np.array([PATCH[1], PATCH[0]]) / 2).astype(int)
    picture = crop[corner[1] : corner[1] + PATCH[0], corner[0] : corner[0] + PATCH[1]]
    change = (code.about_closed(code.of(meshes))[frame] @ code.motion).numpy()
    inside = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(lips[20:]).astype(np.int32)], 1)
    colours = (crop / 255).astype(np.float32)
    seen = cv2.GaussianBlur(colours, (0, 0), 1)[inside > 0]
    bright = seen[seen.mean(axis=1) >= np.quantile(seen.mean(axis=1), 0.92)].mean(axis=0)
    numbers = {"lips": lips - corner, "change": change, "teeth": bright, "detail": detail_of(colours),
               "side": light_of(colours)}  # fmt: skip
    return {"pictures": picture, **{name: np.asarray(value, np.float32) for name, value in numbers.items()}}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    found = {}
    for clip in open_data([args.data]).train:
        meshes = np.asarray(clip.mesh)
        frame = frame_of(meshes)
        if frame is not None:
            found[Path(clip.person).stem] = np.asarray(clip.crops[frame]), meshes, frame
    if args.sheet:
        tiles = [cv2.putText(np.ascontiguousarray(crop[136:226, 64:192]), person, (2, 12), 0, 0.35, (255, 255, 0), 1)
                 for person, (crop, _, _) in found.items()]  # fmt: skip
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_COLUMNS)
        lines = [np.concatenate(tiles[k : k + SHEET_COLUMNS], axis=1) for k in range(0, len(tiles), SHEET_COLUMNS)]
        cv2.imwrite(str(args.sheet), np.concatenate(lines)[:, :, ::-1])
    if args.out:
        code = LipParameterBasis.from_tensors(load_file(Path(__file__).with_name("lips.safetensors")))
        made = [interior(*found[person], code) for person in args.people]
        tensors = {name: np.ascontiguousarray(np.stack([each[name] for each in made])) for name in Interiors.__slots__}
        save_file(tensors, args.out, metadata={"format": "np", "people": json.dumps(args.people)})


if __name__ == "__main__":
    main()
