"""How well the face mesh measures what a mouth does: against the exact truth of synthetic heads.

python studies/mesh_ceiling.py --data E --truth S

E: `latentsync data build --training` of S, which `latentsync synth` wrote. Prints the correlation, within each clip, of
the opening and the width that the mesh of the crops tells with those of the projected landmarks. No predictor that is
judged by the mesh can follow it better than the mesh follows the mouth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from latentsync.metrics.lips import correlation, lip_opening, lip_width
from latentsync.synth.truth import Truth
from latentsync.training.datasets import open_data
from latentsync.training.datasets.seen import Piece

EYES, CORNERS, PAIRS = (36, 45), (60, 64), ((61, 67), (62, 66), (63, 65))
"""Of the 68 landmarks: outer eye corners, inner corners of the lips, upper and lower inner lip."""


def given(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opening and width (F,) in eye distances, of (F, 68, 2)."""
    across = landmarks[:, EYES[1]] - landmarks[:, EYES[0]]
    distance = np.hypot(*across.T)
    along = across / distance[:, None]
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    gaps = [((landmarks[:, low] - landmarks[:, up]) * down).sum(axis=1) for up, low in PAIRS]
    width = ((landmarks[:, CORNERS[1]] - landmarks[:, CORNERS[0]]) * along).sum(axis=1)
    return np.mean(gaps, axis=0) / distance, width / distance


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    args = parser.parse_args()
    data = open_data([args.data])
    found = []
    for clip in [*data.train, *data.val]:
        whole, first = (clip.clip, clip.first) if isinstance(clip, Piece) else (clip, 0)
        stem = args.truth / Path(json.loads((whole.path / "meta.json").read_text("utf-8"))["source"]).stem
        if not stem.with_suffix(".npz").is_file():
            continue
        meshes = np.asarray(clip.mesh)
        opening, width = given(Truth.load(stem).landmarks[first : first + len(meshes)])
        meshes = meshes[: len(opening)]
        found.append((correlation(opening, lip_opening(meshes)), correlation(width, lip_width(meshes))))
    for name, column in zip(("opening", "width"), np.array(found).T, strict=True):
        low, middle, high = np.nanquantile(column, (0.25, 0.5, 0.75))
        print(f"{name:8s} r {np.nanmean(column):.3f} (median {middle:.3f}, quartiles {low:.3f}, {high:.3f})")
    print(f"{len(found)} clips")


if __name__ == "__main__":
    main()
