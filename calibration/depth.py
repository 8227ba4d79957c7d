"""Measure the depths of `latentsync.generation.tiny.pose_warp`, and how near it brings a still picture to other frames.

    python calibration/depth.py BUILD [BUILD …]

BUILD is a folder of `latentsync data build`. Prints the depth of each vertex of `POINTS` and of 9 × 9 cells of a crop,
in hundredths of the distance of the outer eye corners, and for each person how far the outline of closed lips lies from
that of the most closed mouth of two seconds: as it is, and reposed (median and 90th percentile, pixels of 256).
Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from latentsync.faces import MeshTracker
from latentsync.faces import topology as mesh
from latentsync.faces.crop import warp_region
from latentsync.faces.mesh import roi_of_mesh
from latentsync.generation.tiny.pose_warp import CROP_DEPTHS, POINTS, head_move, terms_at
from latentsync.media.pixels import RgbPicture
from latentsync.metrics.lips import lip_opening
from latentsync.training.datasets import AnyClip, open_data

FRAMES = 3
"""Of each clip whose depth is read; people with few clips give up to 40."""
CLOSED = 0.2
"""Share of a clip's frames that count as closed mouths."""


def raw_meshes(clips: Sequence[AnyClip]) -> np.ndarray:
    """(n, 468, 3) of the mesh network, in pixels of its input, depth included."""
    network = MeshTracker().open()._mesh
    per_person = defaultdict(list)
    for clip in clips:
        per_person[clip.person].append(clip)
    rng, out = np.random.default_rng(0), []
    for own in per_person.values():
        for clip in own:
            for k in rng.integers(0, len(clip.crops), max(FRAMES, 40 // len(own))):
                picture = cv2.copyMakeBorder(np.array(clip.crops[k]), 96, 64, 80, 80, cv2.BORDER_REPLICATE)
                roi = roi_of_mesh(np.asarray(clip.mesh[k], np.float64) + np.array([80, 96]))
                view = warp_region(
                    RgbPicture(np.ascontiguousarray(picture)), roi.matrix(), (192, 192), 0.0, cv2.INTER_LINEAR
                )
                raw = network._network(view[None])
                out.append(next(each for each in raw if each.size == 468 * 3).reshape(468, 3).astype(float))
    return np.stack(out)


def mean_shape(shapes: np.ndarray) -> np.ndarray:
    """(468, 3) after Procrustes alignment, unit: distance of the outer eye corners."""
    mean = shapes[0]
    for _ in range(10):
        target = mean - mean.mean(0)
        total = np.zeros_like(mean)
        for shape in shapes:
            own = shape - shape.mean(0)
            u, s, vt = np.linalg.svd(own.T @ target)
            sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
            total += (s * np.diag(sign)).sum() / np.square(own).sum() * own @ u @ sign @ vt
        mean = total / len(shapes)
        mean /= np.linalg.norm(mean[mesh.RIGHT_EYE_OUTER] - mean[mesh.LEFT_EYE_OUTER])
    return mean


def distances(clip: AnyClip) -> list[tuple[float, float]]:
    """(as it is, reposed): distance of the lips' outlines of closed mouths from those of the still picture, pixels."""
    meshes = np.asarray(clip.mesh)
    opening, side = lip_opening(meshes), clip.crops.shape[1]
    still, lips = int(np.argmin(opening[:50])), list(mesh.OUTER_LIPS)
    out = []
    for k in np.flatnonzero(opening <= np.quantile(opening, CLOSED)):
        if k != still:
            here, there = meshes[k][lips], meshes[still][lips]
            at = terms_at(((here + 0.5) / side)[None].astype(np.float32))[0]
            shown = at @ head_move(meshes[k], meshes[still], side) * side - 0.5
            out.append((float(np.hypot(*(here - there).T).mean()), float(np.hypot(*(shown - there).T).mean())))
    return out


def main() -> None:
    """See the module's text."""
    from scipy.interpolate import RBFInterpolator

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, nargs="+")
    args = parser.parse_args()
    data = open_data(args.build)
    clips = [*data.train, *data.val]
    shape = mean_shape(raw_meshes(clips))
    depth = shape[:, 2] - shape[list(POINTS), 2].mean()
    places = np.mean([np.asarray(clip.mesh).mean(0) / clip.crops.shape[1] for clip in clips], axis=0)
    cells = (np.arange(len(CROP_DEPTHS)) + 0.5) / len(CROP_DEPTHS)
    grid = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)
    smooth = RBFInterpolator(places, depth, smoothing=0.01)(grid).clip(depth.min(), depth.max())
    smooth = smooth.reshape(len(cells), -1)
    print(json.dumps({"points": (100 * depth[list(POINTS)]).round().astype(int).tolist(),
                      "crop": (50 * (smooth + smooth[:, ::-1])).round().astype(int).tolist()}))  # fmt: skip
    found = defaultdict(list)
    for clip in clips:
        found[clip.person] += distances(clip)
    for person, pairs in sorted(found.items()):
        still, reposed = np.array(pairs).T
        print(f"{person}: as it is {np.median(still):.2f} ({np.quantile(still, 0.9):.2f}), "
              f"reposed {np.median(reposed):.2f} ({np.quantile(reposed, 0.9):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
