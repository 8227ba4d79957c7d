"""What stands beside the model in every table: results that need no network, on what was watched of a video."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.evaluation.watching import Watched
from latentsync.faces import topology as mesh
from latentsync.faces.alignment import compose, invert, transform
from latentsync.faces.crop import crop_box, extract_crop
from latentsync.media.pixels import RgbPicture, to_bytes
from latentsync.metrics.lips import lip_opening

FEATHER_PX = 6.0
"""Softening of the pasted region's edge, crop pixels; chosen by eye at 256."""


def frozen_mouth(driven: Watched, inpaint_mask: Float) -> Watched:
    """The video with one closed mouth in every frame: sharp, steady, the right person, and deaf.

    The frame of the smallest opening lends its mouth to all, in crop coordinates.
    """
    opening = lip_opening(driven.landmarks)
    closed = int(np.nanargmin(opening))
    alpha = cv2.GaussianBlur(np.asarray(inpaint_mask, np.float32), (0, 0), FEATHER_PX)[..., None]
    mouth = driven.crops[closed].astype(np.float32)
    crops = driven.crops.copy()
    landmarks = driven.landmarks.copy()
    lips = list(mesh.LIPS)
    shape = transform(driven.frame_to_crop[closed], driven.landmarks[closed, lips])
    for index in np.flatnonzero(driven.seen):
        crops[index] = np.rint(alpha * mouth + (1 - alpha) * driven.crops[index]).astype(np.uint8)
        landmarks[index, lips] = transform(invert(driven.frame_to_crop[index]), shape)
    return replace(driven, crops=crops, landmarks=landmarks)


def there_and_back(driven: Watched) -> Watched:
    """The real crops laid into the frame and cut out again: the sharpness that alignment and paste-back alone allow."""
    crops = driven.crops.copy()
    for index in np.flatnonzero(driven.seen):
        crops[index] = _there_and_back(driven.crops[index], driven.frame_to_crop[index], driven.size)
    return replace(driven, crops=crops)


def _there_and_back(crop: np.ndarray, frame_to_crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resolution = crop.shape[0]
    box = crop_box(frame_to_crop, resolution, size)
    if box is None:
        return crop
    x0, y0, x1, y1 = box
    place = np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]])
    local = compose(frame_to_crop, place)
    pasted = cv2.warpAffine(
        crop, invert(local), (x1 - x0, y1 - y0), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return to_bytes(extract_crop(RgbPicture(np.ascontiguousarray(pasted)), local, resolution))


def moved_mouth(driven: Watched, by_frames: int | None = None) -> np.ndarray:
    """(F,) for each frame, the frame whose mouth it gets so that no frame keeps its own: half the clip away, cyclic.

    Used for reconstruction: the model sees the right surroundings and a reference mouth from elsewhere. Frames without
    a face keep themselves.
    """
    seen = np.flatnonzero(driven.seen)
    out = np.arange(len(driven))
    out[seen] = np.roll(seen, -(len(seen) // 2 if by_frames is None else by_frames))
    return out
