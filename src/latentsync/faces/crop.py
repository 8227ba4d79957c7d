"""Cut an aligned crop out of a picture: one conversion of the region, one interpolation, no aliasing."""

from __future__ import annotations

import math

import cv2
import numpy as np

from latentsync.core.values import Box, Float, Picture
from latentsync.faces.alignment import compose, invert, transform

OUTSIDE = 127 / 255
"""Grey level of crop pixels beyond the picture's edge, as the released models were trained."""

_MARGIN_PX = 3  # support of the cubic kernel plus one


def crop_box(
    frame_to_crop: np.ndarray, resolution: int, size: tuple[int, int], margin_px: int = _MARGIN_PX
) -> Box | None:
    """The part of the picture that a crop is made from.

    Args:
        frame_to_crop: (2, 3) affine from frame to crop pixels.
        resolution: side of the crop in pixels.
        size: (width, height) of the picture.
        margin_px: frame pixels added on each side for the interpolation.
    Returns: box inside the picture, or None where the crop lies wholly outside.
    """
    return _box_of(frame_to_crop, (-0.5, -0.5, resolution - 0.5, resolution - 0.5), size, margin_px)


def _box_of(
    frame_to_crop: np.ndarray, extent: tuple[float, float, float, float], size: tuple[int, int], margin_px: int
) -> Box | None:
    """The picture's pixels around a rectangle (x0, y0, x1, y1) of crop coordinates."""
    left, top, right, bottom = extent
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    corners = transform(invert(frame_to_crop), outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x0, y0 = (max(math.floor(v) - margin_px, 0) for v in low)
    x1, y1 = (min(math.ceil(v) + 1 + margin_px, end) for v, end in zip(high, size, strict=True))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _whole_cells(box: Box, size: tuple[int, int]) -> Box:
    """The box grown to multiples of 4 pixels, whole chroma cells of any format, as far as the picture goes."""
    x0, y0, x1, y1 = box
    return x0 // 4 * 4, y0 // 4 * 4, min(-(-x1 // 4) * 4, size[0]), min(-(-y1 // 4) * 4, size[1])


def warp_region(
    picture: Picture, frame_to_crop: np.ndarray, size: tuple[int, int], outside: float, interpolation: int
) -> Float:
    """A (width, height) view of the picture under an affine, read from the region it needs alone.

    Where the view shrinks the picture, the region is first averaged over the area of one output pixel (along the
    frame's axes), so that fine texture does not alias.

    Returns: (height, width, 3) float32 RGB in [0, 1]; `outside` beyond the picture's edge.
    """
    width, height = size
    # The averaging needs whole output pixels at the border, so the margin grows with the shrink.
    linear = invert(frame_to_crop)[:, :2]
    step_x, step_y = (max(1.0, float(np.hypot(*row))) for row in linear)
    margin = _MARGIN_PX * math.ceil(max(step_x, step_y))
    extent = (-0.5, -0.5, width - 0.5, height - 0.5)
    box = _box_of(frame_to_crop, extent, (picture.width, picture.height), margin)
    if box is None:
        return np.full((height, width, 3), outside, dtype=np.float32)
    x0, y0, x1, y1 = box = _whole_cells(box, (picture.width, picture.height))
    small = (max(1, round((x1 - x0) / step_x)), max(1, round((y1 - y0) / step_y)))
    ratio_x, ratio_y = (x1 - x0) / small[0], (y1 - y0) / small[1]
    region: np.ndarray = picture.region(box) if small == (x1 - x0, y1 - y0) else picture.shrunk(box, small)
    # small pixel (u, v) is centred on frame x0 - ½ + (u + ½)·ratio
    small_to_frame = np.array([[ratio_x, 0, x0 + (ratio_x - 1) / 2], [0, ratio_y, y0 + (ratio_y - 1) / 2]])
    crop: np.ndarray = cv2.warpAffine(
        region,
        compose(frame_to_crop, small_to_frame),
        (width, height),
        flags=interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,) * 3,
    )
    return np.clip(crop, 0.0, 1.0).astype(np.float32, copy=False)


def extract_crop(picture: Picture, frame_to_crop: np.ndarray, resolution: int) -> Float:
    """The aligned crop of a face.

    Args:
        picture: the frame's pixels; only the region under the crop is converted to RGB.
        frame_to_crop: (2, 3) affine from frame to crop pixels, see `alignment_matrix`.
        resolution: side of the crop in pixels.
    Returns: (resolution, resolution, 3) float32 RGB in [0, 1], cubic interpolation after an area average where the crop
        shrinks the picture; `OUTSIDE` beyond the picture's edge.
    """
    return warp_region(picture, frame_to_crop, (resolution, resolution), OUTSIDE, cv2.INTER_CUBIC)
