"""Paste as the released tool does: the whole aligned face, eroded and blurred at its edge (docs/method.md#paste).

Kept: the order of steps, kernel sizes, the doubled erosion, colours darkened by the eroded mask at the outermost
pixels.
Different, and why: float32 instead of half precision (no drift of up to 0.9 px on 4K); rounding instead of truncation
(done by `Picture.blend`); only the face's region is computed; a face of less than 400 px area, on which the released
tool stops with an error, is pasted without a soft edge.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from latentsync.core.values import Float, Picture
from latentsync.faces.alignment import aligned_size, compose, invert, transform


def paste_compatible(picture: Picture, crop: Float, frame_to_aligned: np.ndarray, strength: float = 1.0) -> Picture:
    """The picture with the whole generated face laid over it.

    Args:
        picture: the frame's pixels.
        crop: (R, R, 3) float32 RGB in [0, 1], generated.
        frame_to_aligned: (2, 3) affine to the 75 : 100 crop, the same that `crop` was cut out with: the inverse of
            `square_matrix(R)` after `frame_to_crop`, or `alignment_matrix(points, R, compatible=True)`.
        strength: opacity of the whole face, 0 to 1; the released tool has 1 alone.
    Returns: a new picture; the same object where the face lies outside the picture.
    """
    width, height = aligned_size(crop.shape[0])
    aligned = resize_bicubic(crop, (width, height))
    outline = np.array([(-1, -1), (width, -1), (width, height), (-1, height)], dtype=np.float64)
    corners = transform(invert(frame_to_aligned), outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    # The blur looks around: the region grows by its reach, which is at most a 20th of the face's side, and by the
    # erosion.
    area = width * height * abs(float(np.linalg.det(invert(frame_to_aligned)[:, :2])))
    margin = 2 + 3 * (int(math.sqrt(area)) // 20)
    x0, y0 = (max(0, math.floor(v) - margin) for v in low)
    x1, y1 = (min(end, math.ceil(v) + 1 + margin) for v, end in zip(high, (picture.width, picture.height), strict=True))
    if x0 >= x1 or y0 >= y1:
        return picture
    to_aligned = compose(frame_to_aligned, np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]]))
    size, flags = (x1 - x0, y1 - y0), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    face = cv2.warpAffine(aligned, to_aligned, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones((height, width), np.float32)
    covered = cv2.warpAffine(ones, to_aligned, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    # 2 × 2 window: the pixel with its upper and left neighbours
    eroded = cv2.erode(covered, np.ones((2, 2), np.uint8), anchor=(1, 1))
    edge = int(math.sqrt(float(eroded.sum()))) // 20
    soft = eroded
    if edge > 0:
        soft = cv2.erode(eroded, np.ones((2 * edge, 2 * edge), np.uint8))
        side = 2 * edge + 1
        soft = cv2.GaussianBlur(soft, (side, side), 0.3 * (edge - 1) + 0.8, borderType=cv2.BORDER_REFLECT_101)
    return picture.blend(
        (x0, y0, x1, y1), np.clip(face, 0, 1) * eroded[..., None], np.clip(soft, 0, 1) * np.float32(strength)
    )


def resize_bicubic(image: Float, size: tuple[int, int]) -> Float:
    """(H, W, 3) → (height, width, 3): Keys' cubic (a = −½), widened where it shrinks, half-pixel centres."""
    width, height = size
    rows, columns = _cubic_rows(image.shape[0], height), _cubic_rows(image.shape[1], width)
    tall = (rows @ image.reshape(image.shape[0], -1)).reshape(height, image.shape[1], 3)
    return np.ascontiguousarray(columns @ tall, dtype=np.float32)


def _cubic_rows(old: int, new: int) -> np.ndarray:
    """(new, old) weights of a one-dimensional resize, each row summing to 1."""
    scale = old / new
    stretch = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale - 0.5
    x = np.abs(np.arange(old)[None, :] - centres[:, None]) / stretch
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
