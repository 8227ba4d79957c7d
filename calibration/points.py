"""Fit the mesh weights of `latentsync.faces.points` on rendered heads whose 68 landmarks are known.

    python calibration/points.py CLIPS [--holdout 0.25]

CLIPS is a folder of clips as `latentsync synth` writes them: NAME.mp4 and NAME.npz with `landmarks` (frames, 68, 2) in
frame pixels. Identities are split by file. Prints the weights and the residual on the held-out files in percent of the
distance between the outer eye corners, beside the residual of plain means of the usual corresponding vertices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.core.values import Frame
from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT
from latentsync.faces.points import BROW_VERTICES, NOSE_VERTICES, alignment_points
from latentsync.faces.tracker import MeshTracker

TARGETS = (range(17, 22), range(22, 27), range(27, 36))
MATCHED = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300), (168, 197, 5, 4, 98, 97, 2, 326, 327))
RIDGE = 1e-4


def samples(clip: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(mesh (468, 2), three target points (3, 2)) of each frame with a face; every frame is searched afresh."""
    from latentsync.media import VideoReader

    truth = np.load(clip.with_suffix(".npz"))["landmarks"]
    with VideoReader(clip) as reader, MeshTracker().open() as session:
        for index, frame in enumerate(reader):
            session.cut()
            faces = session.track(Frame(index, Fraction(index), frame.picture))
            if faces:
                targets = np.stack([truth[index][list(group)].mean(axis=0) for group in TARGETS])
                yield faces[0].landmarks.astype(np.float64), targets


def fit(meshes: np.ndarray, targets: np.ndarray, columns: list[list[tuple[int, ...]]]) -> np.ndarray:
    """Weights that sum to 1 and share one value per column over `columns` (one list of vertex groups per target)."""
    eye = np.linalg.norm(meshes[:, EYE_RIGHT] - meshes[:, EYE_LEFT], axis=1)[:, None, None]
    rows, wanted = [], []
    for groups, target in zip(columns, targets, strict=True):
        basis = np.stack([meshes[:, list(group)].mean(axis=1) for group in groups], axis=2) / eye
        rows.append((basis - basis.mean(axis=2, keepdims=True)).reshape(-1, len(groups)))
        wanted.append((target / eye[:, :, 0] - basis.mean(axis=2)).reshape(-1))
    a, b = np.concatenate(rows), np.concatenate(wanted)
    n = a.shape[1]
    # unknown: the difference to equal weights; its sum is zero (Lagrange row), its size is held by the ridge
    system = np.block([[a.T @ a / len(a) + RIDGE * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solution = np.linalg.solve(system, np.concatenate([a.T @ b / len(a), [0.0]]))[:n]
    return 1 / n + solution


def residual(meshes: np.ndarray, targets: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(3, 2): per point, the median error and the length of the mean error, percent of the eye distance."""
    eye = np.linalg.norm(meshes[:, EYE_RIGHT] - meshes[:, EYE_LEFT], axis=1)[:, None, None]
    error = (points - targets) / eye * 100
    return np.stack(
        [np.median(np.linalg.norm(error, axis=2), axis=0), np.linalg.norm(error.mean(axis=0), axis=1)], axis=1
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--holdout", type=float, default=0.25)
    args = parser.parse_args()
    clips = sorted(p for p in args.clips.glob("*.mp4") if p.with_suffix(".npz").exists())
    data = [list(samples(clip)) for clip in clips]
    cut = round(len(data) * (1 - args.holdout))
    parts = [[s for clip in part for s in clip] for part in (data[:cut], data[cut:])]
    (train_m, train_t), (test_m, test_t) = ((np.stack([m for m, _ in p]), np.stack([t for _, t in p])) for p in parts)
    print(f"{len(clips)} clips, {len(train_m)} frames to fit, {len(test_m)} held out")
    left = [(a,) for a, _ in BROW_VERTICES]
    right = [(b,) for _, b in BROW_VERTICES]
    brow = fit(train_m, np.stack([train_t[:, 0], train_t[:, 1]]), [left, right])
    nose = fit(train_m, train_t[None, :, 2], [list(NOSE_VERTICES)])
    print("brow ", dict(zip(BROW_VERTICES, brow.round(3).tolist(), strict=True)))
    print("nose ", dict(zip(NOSE_VERTICES, nose.round(3).tolist(), strict=True)))
    fitted = np.stack(
        [
            np.einsum("ngc,g->nc", test_m[:, [a for a, _ in BROW_VERTICES]], brow),
            np.einsum("ngc,g->nc", test_m[:, [b for _, b in BROW_VERTICES]], brow),
            sum(w * test_m[:, list(group)].mean(axis=1) for group, w in zip(NOSE_VERTICES, nose, strict=True)),
        ],
        axis=1,
    )
    matched = np.stack([test_m[:, list(group)].mean(axis=1) for group in MATCHED], axis=1)
    stored = np.stack([alignment_points(m) for m in test_m])
    for name, points in (("fitted now", fitted), ("stored in the package", stored), ("plain means", matched)):
        print(f"{name}: median / mean-vector error per point, % of eye distance")
        print("   ", residual(test_m, test_t, points).round(2).tolist())


if __name__ == "__main__":
    main()
