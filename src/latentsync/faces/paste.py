"""Lay a generated mouth back into its frame, touching nothing outside the mask."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from latentsync.core.values import Box, Float, Picture
from latentsync.faces.alignment import compose, invert, transform
from latentsync.faces.crop import extract_crop
from latentsync.faces.tone import border_of, match_border

FEATHER = 10 / 256
"""Width of the soft border inside the mask, as a share of the crop's side. Chosen by eye on real 1080×1920 clips: below
6/256 a step shows on skin, above 14/256 the chin's new outline mixes with the old one."""

OUTLINE_FEATHER = 8 / 256
"""The same along the face's outline: the mesh is a few pixels out there."""

_SUPPORT_PX = 4  # reach of the cubic kernel, and of the opaque part's outermost pixel
_AVERAGED_FROM = 1.2  # crop pixels per frame pixel


def paste_mouth(
    picture: Picture,
    crop: Float,
    frame_to_crop: np.ndarray,
    mask: Float,
    feather: float = FEATHER,
    match_colour: bool = True,
    original: Float | None = None,
    strength: float = 1.0,
    outline: Float | None = None,
) -> Picture:
    """The picture with the masked part of a generated crop laid over the face.

    Only the mask's bounding region is warped (cubic; area-averaged where the face is smaller than the crop). The
    border is
    feathered inside the mask: a frame pixel whose place in the crop is outside the mask keeps exactly its value.

    Args:
        picture: the frame's pixels.
        crop: (R, R, 3) float32 RGB in [0, 1], generated.
        frame_to_crop: (2, 3) affine of this frame, see `AlignedFace`.
        mask: (R, R) float32, 1 = generated; pixels of at least ½ count as inside.
        feather: width of the soft border, share of R; 0 = hard.
        match_colour: take off the slow colour difference to the original, measured along the mask's inner border.
        original: (R, R, 3) the frame's own crop, if the caller has it; else it is cut out here.
        strength: in [0, 1], scales the whole patch's opacity (for fading in and out).
        outline: (n, 2) the face's outline in crop pixels, beyond which nothing is laid over the frame: of a turned head
            the mask may reach the background. None = the mask alone.
    Returns: a new picture; the same object where the mask lies outside the picture.
    Raises: ValueError: shapes do not fit.
    """
    side = crop.shape[0]
    if crop.shape != (side, side, 3) or mask.shape != (side, side):
        raise ValueError(f"crop {crop.shape} and mask {mask.shape} must be (R, R, 3) and (R, R)")
    inside = (mask >= 0.5).tobytes()
    alpha, opaque = _opacity(inside, side, feather)
    box = None if opaque is None else _frame_box(opaque, frame_to_crop, (picture.width, picture.height))
    if opaque is None or box is None:
        return picture
    if outline is not None:
        alpha = alpha * _within(outline, opaque, side)
    window = _window(opaque, frame_to_crop, side)
    left, top, right, bottom = window
    if match_colour:
        reference = original if original is not None else extract_crop(picture, frame_to_crop, side)
        crop = match_border(crop, reference, border_of(inside, side), window)
    else:
        crop = crop[top:bottom, left:right]
    x0, y0, x1, y1 = box
    region_to_crop = compose(frame_to_crop, np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]]))
    size = (x1 - x0, y1 - y0)
    rgb = _view(crop, compose(np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]]), region_to_crop), size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    weight = cv2.warpAffine(alpha, region_to_crop, size, flags=flags)
    return picture.blend(box, rgb, np.clip(weight * np.float32(strength), 0.0, 1.0))


@lru_cache(maxsize=8)
def _opacity(inside: bytes, side: int, feather: float) -> tuple[Float, Box | None]:
    """`feathered` and the box where it is not 0, computed once for all frames (a pure function of its arguments)."""
    alpha = feathered(np.frombuffer(inside, dtype=bool).reshape(side, side), feather * side)
    x, y, width, height = cv2.boundingRect((alpha > 0).view(np.uint8))
    return alpha, (x, y, x + width, y + height) if width else None


def feathered(inside: np.ndarray, width_px: float) -> Float:
    """Opacity that rises smoothly from the mask's border inwards.

    It is 0 outside and on the outermost ring of pixels (8-neighbours), so that interpolation between samples cannot
    reach outside; with a width of 0 it is 1 right behind that ring.

    Args:
        inside: (R, R) bool. width_px: distance at which the opacity is 1.
    Returns: (R, R) float32 in [0, 1].
    """
    padded = np.pad(inside.astype(np.uint8), 1)  # the crop's own edge is a border too
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    core = cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    share = np.clip((depth - 1.0) / max(width_px, 1e-3), 0.0, 1.0)
    return (share * share * (3 - 2 * share) * core).astype(np.float32)


def _within(outline: Float, opaque: Box, side: int) -> Float:
    """(R, R) float32: 1 well inside the outline, 0 outside of it; where the mask is not opaque it may be anything."""
    left, top, right, bottom = opaque
    inside = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(inside, [np.rint(outline - np.array([left, top])).astype(np.int32)], 1)
    out = np.ones((side, side), np.float32)
    if not inside.all():
        padded = np.pad(inside, 1, mode="edge")
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
        share = np.clip(depth / (OUTLINE_FEATHER * side), 0.0, 1.0)
        out[top:bottom, left:right] = share * share * (3 - 2 * share)
    return out


def _window(opaque: Box, frame_to_crop: np.ndarray, side: int) -> Box:
    """The part of the crop that the opaque part of it is interpolated from; all of it where `_view` averages."""
    if max(_steps(frame_to_crop)) > _AVERAGED_FROM:
        return 0, 0, side, side
    left, top, right, bottom = opaque
    reach = _SUPPORT_PX
    return max(left - reach, 0), max(top - reach, 0), min(right + reach, side), min(bottom + reach, side)


def _steps(frame_to_crop: np.ndarray) -> tuple[float, float]:
    """Crop pixels, across and down, that lie under one pixel of the frame."""
    (a, b), (c, d) = frame_to_crop[:, :2].tolist()
    return math.hypot(a, b), math.hypot(c, d)


def _frame_box(opaque: Box, frame_to_crop: np.ndarray, size: tuple[int, int]) -> Box | None:
    """The picture's pixels which the opaque part of the crop can reach."""
    left, top, right, bottom = opaque[0] - 1, opaque[1] - 1, opaque[2], opaque[3]
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)
    corners = transform(invert(frame_to_crop), outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x0, y0 = (max(0, math.floor(v)) for v in low)
    x1, y1 = (min(end, math.ceil(v) + 1) for v, end in zip(high, size, strict=True))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _view(crop: Float, region_to_crop: np.ndarray, size: tuple[int, int]) -> Float:
    """The crop as seen by a region of the frame."""
    step_x, step_y = _steps(region_to_crop)
    if max(step_x, step_y) > _AVERAGED_FROM:
        # the frame's face is smaller than the crop: average first, as in `warp_region`
        height, width = crop.shape[:2]
        small = (max(1, round(width / max(step_x, 1.0))), max(1, round(height / max(step_y, 1.0))))
        crop = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        a, b = small[0] / width, small[1] / height
        region_to_crop = compose(np.array([[a, 0.0, (a - 1) / 2], [0.0, b, (b - 1) / 2]]), region_to_crop)
    rgb = cv2.warpAffine(
        np.ascontiguousarray(crop, dtype=np.float32),
        region_to_crop,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.clip(rgb, 0.0, 1.0, out=rgb)
