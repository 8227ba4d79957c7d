"""How near does an open still come to other open mouths of the same person, by its lips and upper teeth alone?

    python studies/lip_warp.py --data clips/ --rigid 0 0.6

For each person one clip of the folders that `latentsync data build --training` wrote. Each frame whose mouth is more
than a quarter as open as the widest is made from the most open still: turned (`tiny.pose_warp`), then with its lips
moved to where the frame has them (`tiny.lip_warp`), with this share of the gap between the lips kept rigid below the
upper one. Printed is the mean absolute difference from the frame, levels of 255, between the inner lips and on all of
the mouth.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.faces import topology as mesh
from latentsync.generation.tiny import lip_warp as reshape
from latentsync.generation.tiny.pose_warp import crop_terms, head_move, pose_warp, terms_at
from latentsync.generation.tiny.references import choose_references, reference_lips
from latentsync.metrics.lips import lip_opening
from latentsync.training.datasets import AnyClip, num_frames, open_data

STILLS, FRAMES = 75, 40
MOUTH = (slice(140, 220), slice(70, 186))
"""Rows and columns of a 256 px crop."""


def inside(points: Float, side: int) -> np.ndarray:
    """(R, R) whether a pixel lies between the inner lips."""
    canvas = np.zeros((side, side), np.uint8)
    cv2.fillPoly(canvas, [np.rint(points[list(mesh.INNER_LIPS)]).astype(np.int32)], 1)
    return canvas > 0


def distances(clip: AnyClip, rigid: float | None) -> tuple[float, float] | None:
    """Between the lips and on the mouth; None: never open. Args: rigid: None = lips are left where they are."""
    count = num_frames(clip)
    meshes = np.asarray(clip.mesh[:count], np.float32)
    side = clip.crops.shape[1]
    pick = choose_references(meshes[:STILLS])[1]
    still, mouths = (
        np.asarray(clip.crops[pick], np.float32),
        reference_lips(meshes[[pick]], np.asarray(clip.crops[[pick]])),
    )
    opening = lip_opening(meshes)
    frames = [k for k in np.flatnonzero(opening > 0.25 * opening.max()) if k != pick]
    found = []
    for k in frames[:: max(1, len(frames) // FRAMES)]:
        move, warp_field = head_move(meshes[k], meshes[pick], side), None
        if rigid is not None:
            reshape.RIGID = rigid
            lips = reference_lips(meshes[[k]], np.asarray(clip.crops[[k]])).own
            warp_field = partial(reshape.warped_places, own=mouths.own[0], target=terms_at(lips)[0] @ move)
        made = pose_warp(still, move, crop_terms(side), warp_field).clip(0, 255)
        apart = np.abs(made - np.asarray(clip.crops[k], np.float32)).mean(axis=-1)
        found.append((apart[inside(meshes[k], side)].mean(), apart[MOUTH].mean()))
    return tuple(float(v) for v in np.nanmean(found, axis=0)) if found else None  # type: ignore[return-value]


def main() -> None:
    """Print one JSON line for each person, and the means over people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--rigid", type=float, nargs="+", default=[0.0, 0.6])
    args = parser.parse_args()
    data = open_data(args.data)
    people = {clip.person: clip for clip in [*data.train, *data.val]}
    lines = []
    for person, clip in people.items():
        named = {"turned": None, **{f"rigid {share:g}": share for share in args.rigid}}
        each = {name: distances(clip, share) for name, share in named.items()}
        if all(each.values()):
            lines.append(each)
            print(json.dumps({"person": person} | rounded(each)), flush=True)
    means = {name: tuple(np.mean([line[name] for line in lines], axis=0)) for name in (lines[0] if lines else {})}
    print(json.dumps({"people": len(lines)} | rounded(means)))


def rounded(each: dict[str, tuple[float, float] | None]) -> dict[str, dict[str, float]]:
    """For printing."""
    return {name: {"between": round(v[0], 2), "mouth": round(v[1], 2)} for name, v in each.items() if v}


if __name__ == "__main__":
    main()
