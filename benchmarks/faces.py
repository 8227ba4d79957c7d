"""Speed and steadiness of the faces floor.

    python benchmarks/faces.py VIDEO [--frames 100] [--threads 1]

Prints, for each part, the median wall time and the CPU time per frame in ms (the CPU time is the steadier one on a busy
machine), and how far the crop still shifts from frame to frame, with and without smoothing (phase correlation of the
eyes-and-nose region of neighbouring crops, in crop pixels; expression and noise included).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import AlignedFace, Frame
from latentsync.faces import (
    FaceFollower,
    FollowerConfig,
    MeshTracker,
    TrackerConfig,
    alignment_matrix,
    extract_crop,
    inpaint_mask,
    paste_compatible,
    paste_mouth,
)
from latentsync.faces.shots import look
from latentsync.faces.smoothing import SmoothingConfig
from latentsync.media import VideoReader

Pairs = list[tuple[Frame, AlignedFace]]


def report(name: str, call: Callable[[int], object], count: int) -> None:
    """Time `call(0)` … `call(count − 1)`."""
    wall, cpu = [], []
    for index in range(count):
        t, c = time.perf_counter(), time.process_time()
        call(index)
        wall.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
    middle, spent = 1e3 * np.median(wall), 1e3 * np.median(cpu)
    print(f"{name:30s} wall {middle:7.2f} ms   cpu {spent:7.2f} ms   (median of {count})")


def shifts(pairs: Pairs) -> str:
    crops = [extract_crop(frame.picture, face.frame_to_crop, 256) for frame, face in pairs]
    parts = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[30:128, 20:236] for crop in crops]
    window = cv2.createHanningWindow((216, 98), cv2.CV_32F)
    moved = [float(np.hypot(*cv2.phaseCorrelate(a, b, window)[0])) for a, b in pairwise(parts)]
    return f"median {np.median(moved):.2f} px, 95 % {np.percentile(moved, 95):.2f} px"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with VideoReader(args.video) as reader:
        frames = list(islice(reader, args.frames))
    tracker = MeshTracker(TrackerConfig(threads=args.threads))
    smooth, raw = (
        [(f, a) for f, a in FaceFollower(tracker, config=config).follow(frames) if a is not None]
        for config in (
            FollowerConfig(),
            FollowerConfig(smoothing=SmoothingConfig(reach_frames=0), max_bridge_frames=0),
        )
    )
    width = np.median([np.ptp(face.landmarks[:, 0]) for _, face in smooth])
    picture = frames[0].picture
    size = f"{picture.width}x{picture.height}"
    print(f"{args.video.name}: {size}, {len(frames)} frames, {len(smooth)} with a face, {width:.0f} px wide")
    with tracker.open() as session:
        report("track, first frame of a shot", lambda i: session.track(frames[i]), 1)
        report("track", lambda i: session.track(frames[i + 1]), len(frames) - 1)
    report("look for cuts", lambda i: look(frames[i].picture.thumbnail(64)), len(frames))
    mask = inpaint_mask(256)
    pictures = [frame.picture for frame, _ in smooth]
    matrices = [face.frame_to_crop for _, face in smooth]
    crops = [extract_crop(p, m, 256) for p, m in zip(pictures, matrices, strict=True)]
    report("cut out", lambda i: extract_crop(pictures[i], matrices[i], 256), len(smooth))

    def paste(i: int, match: bool = True) -> object:
        return paste_mouth(pictures[i], crops[i], matrices[i], mask, match_colour=match, original=crops[i])

    paste(0)  # the mask is prepared once a video
    report("paste", paste, len(smooth))
    report("paste without colour match", lambda i: paste(i, match=False), len(smooth))
    aligned = [alignment_matrix(face.points, 256, compatible=True) for _, face in smooth]
    report("paste as the released tool", lambda i: paste_compatible(pictures[i], crops[i], aligned[i]), 20)
    print("crop shifts from frame to frame: smoothed", shifts(smooth), "| not smoothed", shifts(raw))


if __name__ == "__main__":
    main()
