"""Pictures: the only place where samples become floats and floats become samples.

Both kinds implement `core.values.Picture`. Maths is float32; going back, values are rounded to the nearest code and
limited to the range of the depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np

from latentsync.core.values import Box, Bytes, Float, frozen
from latentsync.media.planes import (
    Layout,
    assert_layout,
    blank_like,
    cell_means,
    chroma_up,
    copy_planes,
    layout_of,
    plane_array,
    to_planar,
    turned,
)

BAND_ROWS = 64
"""Rows worked on at a time: small enough for the cache, a multiple of the rows of any chroma cell."""


def to_unit(codes: np.ndarray) -> Float:
    """uint8 → float32 in [0, 1]."""
    return np.multiply(codes, np.float32(1 / 255), dtype=np.float32)


def to_bytes(values: Float) -> Bytes:
    """float32 in [0, 1] → uint8, rounded to the nearest code; values outside are limited."""
    return cv2.convertScaleAbs(np.clip(values, 0.0, 1.0), alpha=255.0)


class RgbPicture:
    """A picture given as an array.

    Args:
        array: (H, W, 3) uint8 RGB. It is not copied: do not write to it afterwards.
    """

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8:
            raise ValueError(f"RgbPicture: {array.dtype}, expected uint8")
        self.array: Bytes = frozen(array, np.uint8, (None, None, 3), "RgbPicture")

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        return int(self.array.shape[0])

    def region(self, box_xyxy: Box) -> Float:
        x0, y0, x1, y1 = _inside(box_xyxy, self.width, self.height)
        return to_unit(self.array[y0:y1, x0:x1])

    def shrunk(self, box_xyxy: Box, size: tuple[int, int]) -> Float:
        return _averaged(self.region(box_xyxy), size)

    def thumbnail(self, long_side_px: int) -> Bytes:
        size = _shrunk(self.width, self.height, long_side_px)
        if size == (self.width, self.height):
            return self.array
        return _reduced(self.array, size)

    def rgb(self) -> Bytes:
        return self.array

    def blend(self, box_xyxy: Box, rgb: Float, alpha: Float) -> RgbPicture:
        x0, y0, x1, y1 = _inside(box_xyxy, self.width, self.height)
        _check_patch(box_xyxy, rgb, alpha)
        old = to_unit(self.array[y0:y1, x0:x1])
        new = to_bytes(old + alpha[..., None] * (rgb - old))
        out = self.array.copy()
        out[y0:y1, x0:x1] = np.where(alpha[..., None] > 0, new, out[y0:y1, x0:x1])
        return RgbPicture(out)


class PlanarPicture:
    """A decoded frame in its own planes: 4:2:0, 4:2:2, 4:4:4 or planar RGB, 8 to 16 bits, limited or full range.

    Other formats are converted once, without loss of depth (see `planes.to_planar`). Matrix and range follow the
    frame's tags; untagged frames are BT.709 from 720 lines on, else BT.601, limited range. An alpha plane is carried
    along.

    Args:
        frame: as decoded; it is never written to.
    """

    __slots__ = ("frame", "layout")

    def __init__(self, frame: av.VideoFrame) -> None:
        self.frame: av.VideoFrame = to_planar(frame)
        layout = layout_of(self.frame)
        assert_layout(layout, self.frame.format.name)
        self.layout: Layout = layout  # type: ignore[assignment]

    @property
    def width(self) -> int:
        return self.layout.width

    @property
    def height(self) -> int:
        return self.layout.height

    def plane(self, index: int) -> np.ndarray:
        """Read-only view of the samples of one plane, (rows, columns) uint8 or uint16."""
        view = plane_array(self.frame, index, self.layout)
        view.flags.writeable = False
        return view

    def region(self, box_xyxy: Box) -> Float:
        x0, y0, x1, y1 = _inside(box_xyxy, self.width, self.height)
        planes = [plane_array(self.frame, index, self.layout) for index in range(3)]
        matrix = self.layout.to_rgb_matrix()
        out = np.empty((y1 - y0, x1 - x0, 3), np.float32)
        for top, bottom in _bands(y0, y1):
            codes = [planes[0][top:bottom, x0:x1].astype(np.float32)]
            codes += [chroma_up(plane, (x0, top, x1, bottom), self.layout.cell) for plane in planes[1:]]
            out[top - y0 : bottom - y0] = _limited(cv2.transform(cv2.merge(codes), matrix))
        return out

    def shrunk(self, box_xyxy: Box, size: tuple[int, int]) -> Float:
        x0, y0, x1, y1 = _inside(box_xyxy, self.width, self.height)
        across, down = self.layout.cell
        if x0 % across or x1 % across or y0 % down or y1 % down:  # the box cuts chroma samples in two
            return _averaged(self.region(box_xyxy), size)
        cells = np.s_[y0 // down : y1 // down, x0 // across : x1 // across]
        luma, *chroma = (plane_array(self.frame, index, self.layout) for index in range(3))
        codes = [_averaged(part.astype(np.float32), size) for part in (luma[y0:y1, x0:x1], *(c[cells] for c in chroma))]
        return _limited(cv2.transform(cv2.merge(codes), self.layout.to_rgb_matrix()))

    def thumbnail(self, long_side_px: int) -> Bytes:
        size = _shrunk(self.width, self.height, long_side_px)
        if size == (self.width, self.height):
            return self.rgb()
        codes = [_reduced(plane_array(self.frame, index, self.layout), size) for index in range(3)]
        return to_bytes(cv2.transform(cv2.merge(codes).astype(np.float32), self.layout.to_rgb_matrix()))

    def rgb(self) -> Bytes:
        out = np.empty((self.height, self.width, 3), np.uint8)
        for y0, y1 in _bands(0, self.height):
            out[y0:y1] = to_bytes(self.region((0, y0, self.width, y1)))
        return out

    def blend(self, box_xyxy: Box, rgb: Float, alpha: Float) -> PlanarPicture:
        _inside(box_xyxy, self.width, self.height)
        _check_patch(box_xyxy, rgb, alpha)
        out = copy_planes(self.frame, self.layout)
        touched = _alpha_box(alpha)
        if touched is not None:
            left, top, right, bottom = touched
            x0, y0 = box_xyxy[0], box_xyxy[1]
            for start, end in _bands(y0 + top, y0 + bottom):
                part = np.s_[start - y0 : end - y0, left:right]
                _lay_over(out, self.layout, (x0 + left, start, x0 + right, end), rgb[part], alpha[part])
        return PlanarPicture(out)

    def upright(self, quarter_turns: int, mirror: bool = False) -> PlanarPicture:
        """The picture mirrored if asked, then turned clockwise by quarters, with planes of its own."""
        return PlanarPicture(turned(self.frame, quarter_turns, mirror))


def convert(picture: RgbPicture | PlanarPicture, like: av.VideoFrame) -> PlanarPicture:
    """A picture in the pixel format, colour matrix and range of `like` (whose samples are not read).

    Source and result may differ in depth, subsampling, matrix and range; values are rounded, not truncated. Used where
    the picture is not yet what the encoder takes, so it may be slower than the rest.
    """
    box = (0, 0, picture.width, picture.height)
    target = PlanarPicture(blank_like(like, picture.width, picture.height))
    if target.layout.has_alpha:
        alpha_plane = plane_array(target.frame, 3, target.layout)
        alpha_plane[:] = target.layout.max_code
        if isinstance(picture, PlanarPicture) and picture.layout.has_alpha:
            alpha_plane[:] = np.rint(picture.plane(3) * (target.layout.max_code / picture.layout.max_code))
    rgb = picture.region(box)
    _lay_over(target.frame, target.layout, box, rgb, np.ones(rgb.shape[:2], np.float32))
    return target


def _lay_over(frame: av.VideoFrame, layout: Layout, box: Box, rgb: Float, alpha: Float) -> None:
    """Blend into the planes of `frame`. Samples whose pixels all have alpha = 0 get back exactly their own code."""
    x0, y0, x1, y1 = box
    rgb = np.ascontiguousarray(rgb, dtype=np.float32)
    codes = [cv2.transform(rgb, row[None]) for row in layout.from_rgb_matrix()]  # faster than all three and a split
    alpha = np.ascontiguousarray(alpha, dtype=np.float32)
    luma = plane_array(frame, 0, layout)[y0:y1, x0:x1]
    _store(luma, alpha, cv2.multiply(codes[0], alpha), layout.max_code)
    across, down = layout.cell
    left, top = x0 % across, y0 % down
    right, bottom = -x1 % across, -y1 % down
    pads = (top, bottom, left, right)
    weight = _padded(alpha, pads, x1 == layout.width, y1 == layout.height)
    cells = np.s_[(y0 - top) // down : (y1 + bottom) // down, (x0 - left) // across : (x1 + right) // across]
    mean_weight = cell_means(weight, layout.cell)
    for index in (1, 2):
        weighted = _padded(cv2.multiply(codes[index], alpha), pads, x1 == layout.width, y1 == layout.height)
        _store(
            plane_array(frame, index, layout)[cells], mean_weight, cell_means(weighted, layout.cell), layout.max_code
        )


def _store(old: np.ndarray, weight: Float, weighted: Float, max_code: int) -> None:
    """old ← round((1 − weight)·old + weighted), limited to the codes of the depth, in place."""
    before = old.astype(np.float32)
    value = cv2.add(cv2.subtract(before, cv2.multiply(before, weight)), weighted)
    if max_code == 255:
        cv2.threshold(value, 0.0, 0.0, cv2.THRESH_TOZERO, dst=value)  # cv2.max(array, number) misreads thin arrays
        np.copyto(old, cv2.convertScaleAbs(value))  # rounds to nearest and limits to 255
    else:
        np.copyto(old, np.rint(np.clip(value, 0, max_code)), casting="unsafe")


def _padded(values: Float, pads: tuple[int, int, int, int], at_right_edge: bool, at_bottom_edge: bool) -> Float:
    """Extend to whole cells: with 0 inside the picture (not edited), by repeating where a cell hangs over its edge."""
    top, bottom, left, right = pads
    if right and at_right_edge:
        values = cv2.copyMakeBorder(values, 0, 0, 0, right, cv2.BORDER_REPLICATE)
        right = 0
    if bottom and at_bottom_edge:
        values = cv2.copyMakeBorder(values, 0, bottom, 0, 0, cv2.BORDER_REPLICATE)
        bottom = 0
    if top or bottom or left or right:
        values = cv2.copyMakeBorder(values, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    return values


def _bands(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Rows in bands that stay in the cache, cut between chroma cells."""
    while start < end:
        stop = min((start // BAND_ROWS + 1) * BAND_ROWS, end)
        yield start, stop
        start = stop


def _alpha_box(alpha: Float) -> Box | None:
    """Smallest box around alpha > 0, or None."""
    x, y, width, height = cv2.boundingRect((alpha > 0).view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def _reduced(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink to (width, height): halve by averaging while possible, then the rest. Much faster than in one step."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        height, width = plane.shape[:2]
        exact = height % 2 == 0 and width % 2 == 0
        plane = cv2.resize(
            plane, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA if exact else cv2.INTER_LINEAR
        )
    shrinks = plane.shape[1] >= size[0] and plane.shape[0] >= size[1]
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _averaged(values: Float, size: tuple[int, int]) -> Float:
    """Resampled to (width, height), each sample the mean of the area it covers."""
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


def _limited(values: Float) -> Float:
    """Limited to [0, 1] in place, (h, w, 3). cv2.min with a number would limit the first channel only."""
    cv2.threshold(values, 0.0, 0.0, cv2.THRESH_TOZERO, dst=values)
    cv2.threshold(values, 1.0, 1.0, cv2.THRESH_TRUNC, dst=values)
    return values


def _inside(box_xyxy: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = (int(side) for side in box_xyxy)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box {box_xyxy} is empty or not inside a picture of {width}x{height}")
    return x0, y0, x1, y1


def _check_patch(box_xyxy: Box, rgb: np.ndarray, alpha: np.ndarray) -> None:
    x0, y0, x1, y1 = box_xyxy
    if rgb.shape != (y1 - y0, x1 - x0, 3) or alpha.shape != (y1 - y0, x1 - x0):
        raise ValueError(f"box {box_xyxy} needs ({y1 - y0}, {x1 - x0}), got rgb {rgb.shape}, alpha {alpha.shape}")


def _shrunk(width: int, height: int, long_side_px: int) -> tuple[int, int]:
    scale = min(Fraction(long_side_px, max(width, height)), Fraction(1))
    return max(round(width * scale), 1), max(round(height * scale), 1)
