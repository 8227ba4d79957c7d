"""Sharpness of the mouth at the video's own resolution, octave by octave: what a 256 px network loses on a close-up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.evaluation.scoring import Scores
from latentsync.evaluation.watching import Watched
from latentsync.faces.crop import extract_crop
from latentsync.media.pixels import to_bytes
from latentsync.media.reader import VideoReader
from latentsync.metrics.image import band_ratios

BANDS = ("native_07_px", "native_14_px", "native_28_px", "native_56_px")
"""Octaves that begin at details of 0.7, 1.4, 2.8 and 5.6 pixels of the frame."""
FRAMES = 12
MOST_PX = 1024
"""Largest side of a crop, for memory."""


def native_scores(result_path: Path, driven_path: Path, result: Watched, driven: Watched, mask: Float) -> Scores:
    """Energy of each octave inside the generated region over that of the driven video, and the face's width.

    The crop has as many pixels as the face has in the frame (256 px crop × `frame_px_per_crop_px`, 1024 at most), so
    nothing is enlarged. Twelve frames spread over the clip are averaged; they need not show the same mouth.

    Args: result, driven: as many frames each, see `Watched.at`. mask: (R, R) 1 = generated.
    """
    seen = np.flatnonzero(driven.seen & result.seen)
    if not len(seen):
        return {}
    picked = seen[np.unique(np.linspace(0, len(seen) - 1, FRAMES).round().astype(int))]
    resolution = driven.crops.shape[1]
    scales = [1 / np.sqrt(abs(np.linalg.det(driven.frame_to_crop[i][:, :2].astype(float)))) for i in picked]
    side = int(min(MOST_PX, max(16, round(resolution * float(np.median(scales))))))
    matrices = [driven.frame_to_crop[i] * np.float32(side / resolution) for i in picked]
    region = cv2.resize(np.asarray(mask, np.float32), (side, side), interpolation=cv2.INTER_AREA)
    times_s = result.times_s[picked]
    ours = np.stack(list(_crops(result_path, times_s, matrices, side)))
    theirs = np.stack(list(_crops(driven_path, times_s - result.times_s[0], matrices, side, from_first=True)))
    bands = band_ratios(ours, theirs, region, len(BANDS))
    widths = np.ptp(driven.landmarks[picked, :, 0], axis=1)
    return {**dict(zip(BANDS, bands, strict=True)), "face_width_px": float(np.median(widths))}


def _crops(
    path: Path, times_s: np.ndarray, matrices: list[Float], side: int, from_first: bool = False
) -> Iterator[np.ndarray]:
    """(side, side, 3) uint8 of the frame nearest to each rising time; `from_first`: from the first frame's."""
    row, before, origin_s = 0, None, 0.0
    with VideoReader(path) as reader:
        for frame in reader:
            time_s = float(frame.time_s)
            if before is None and from_first:
                origin_s = time_s
            now_s = time_s - origin_s
            while row < len(times_s) and before is not None and now_s > times_s[row]:
                nearer = before[1] if times_s[row] - before[0] <= now_s - times_s[row] else frame
                yield to_bytes(extract_crop(nearer.picture, matrices[row], side))
                row += 1
            if row == len(times_s):
                return
            before = (now_s, frame)
    while row < len(times_s) and before is not None:
        yield to_bytes(extract_crop(before[1].picture, matrices[row], side))
        row += 1
