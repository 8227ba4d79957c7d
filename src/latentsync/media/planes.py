"""Planes of decoded frames: their layout, access to them without copies, chroma resampling, and turning them upright.

Chroma model: a chroma sample stands for the mean colour of the cell of luma pixels it covers (centre siting). Going up,
each cell becomes a linear ramp whose mean is the sample itself; going down, a cell is the mean of its pixels. So up and
then down gives back the same samples, and a region that is read and laid back unchanged changes nothing. Streams sited
to the left (MPEG-2) differ by half a luma pixel of chroma, in both directions alike, so nothing moves in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np

from latentsync.core.values import Float

HD_HEIGHT_PX = 720
"""Untagged pictures with a short side of at least this are BT.709, smaller ones BT.601: the rule players use."""

FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LUMA_WEIGHTS = {  # matrix coefficient code (ITU-T H.273 table 4) → (Kr, Kb) of that standard
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a planar picture are stored.

    Attributes:
        format: name of the pixel format, e.g. "yuv420p10le".
        width, height: of the picture, pixels.
        bits: per sample.
        cell: luma pixels covered by one chroma sample, (columns, rows); (1, 1) for 4:4:4 and RGB.
        is_rgb: planes are G, B, R.
        has_alpha: plane 3 is an alpha plane.
        colorspace, color_range: tags (ITU-T H.273 numbers), as found.
    """

    format: str
    width: int
    height: int
    bits: int
    cell: tuple[int, int]
    is_rgb: bool
    has_alpha: bool
    colorspace: int
    color_range: int

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def is_full_range(self) -> bool:
        return self.is_rgb or self.color_range == FULL_RANGE or self.format.startswith("yuvj")

    @property
    def max_code(self) -> int:
        return (1 << self.bits) - 1

    def to_rgb_matrix(self) -> Float:
        """(3, 4) float32: codes of planes 0, 1, 2 → R, G, B in [0, 1]. Source: ITU-T H.273, equations 22 to 36."""
        return np.ascontiguousarray(np.linalg.inv(self._from_rgb())[:3], dtype=np.float32)

    def from_rgb_matrix(self) -> Float:
        """(3, 4) float32: R, G, B in [0, 1] → codes of planes 0, 1, 2, not rounded."""
        return np.ascontiguousarray(self._from_rgb()[:3], dtype=np.float32)

    def _from_rgb(self) -> np.ndarray:
        matrix = np.eye(4)
        if self.is_rgb:
            matrix[:3, :3] = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]) * self.max_code
            return matrix
        kr, kb = _LUMA_WEIGHTS.get(self.colorspace, self._untagged_weights())
        luma = np.array([kr, 1 - kr - kb, kb])
        blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - kb))
        red = (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))
        step = 1 << (self.bits - 8)
        luma_span, chroma_span, black = (
            (self.max_code, self.max_code, 0) if self.is_full_range else (219 * step, 224 * step, 16 * step)
        )
        matrix[:3, :3] = luma * luma_span, blue * chroma_span, red * chroma_span
        matrix[:3, 3] = black, 128 * step, 128 * step
        return matrix

    def _untagged_weights(self) -> tuple[float, float]:
        return _LUMA_WEIGHTS[1 if min(self.width, self.height) >= HD_HEIGHT_PX else 6]


def layout_of(frame: av.VideoFrame) -> Layout | None:
    """The layout of a frame, or None where its format is not one that is worked on directly (see `to_planar`)."""
    fmt = frame.format
    parts = fmt.components
    bits = parts[0].bits
    alphas = [part for part in parts if part.is_alpha]
    planes = [part.plane for part in parts]
    name = fmt.name
    wanted = (2, 0, 1) if fmt.is_rgb else (0, 1, 2)
    if fmt.has_palette or name.endswith("be") or "f32" in name or "f16" in name or "msb" in name:
        return None
    if len(parts) - len(alphas) != 3 or tuple(planes[:3]) != wanted or not 8 <= bits <= 16:
        return None
    if any(part.bits != bits for part in parts):
        return None
    chroma = parts[1]
    cell = (-(-fmt.width // chroma.width), -(-fmt.height // chroma.height))
    if not fmt.is_rgb:
        cell = (1 if "444" in name else 2, 2 if "420" in name else 1)
        if not any(kind in name for kind in ("420", "422", "444")):
            return None
    return Layout(
        name, frame.width, frame.height, bits, cell, fmt.is_rgb, bool(alphas), int(frame.colorspace),
        int(frame.color_range),
    )  # fmt: skip


def plane_array(frame: av.VideoFrame, index: int, layout: Layout) -> np.ndarray:
    """View of the samples of one plane (rows, columns), uint8 or uint16, without the padding and without a copy."""
    plane = frame.planes[index]
    item = np.dtype(layout.dtype).itemsize
    if plane.line_size < 0 or plane.line_size % item:
        raise ValueError(f"plane {index} has lines of {plane.line_size} bytes")
    rows = np.frombuffer(plane, layout.dtype).reshape(-1, plane.line_size // item)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def blank_like(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A frame of the same format and colour tags with planes of its own, not cleared."""
    out = av.VideoFrame(width, height, frame.format.name)
    for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
        if hasattr(frame, tag):  # the last two came with PyAV 16
            setattr(out, tag, int(getattr(frame, tag)))
    return out


def copy_planes(frame: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    """A copy that may be written to: decoders keep using the buffers of the frames they hand out."""
    out = blank_like(frame, frame.width, frame.height)
    for index in range(len(frame.planes)):
        np.copyto(plane_array(out, index, layout), plane_array(frame, index, layout))
    return out


def to_planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame in a format that `layout_of` knows: itself, or converted once with no loss of depth.

    nv12, p010, yuyv… → planar at the same subsampling; rgb24, bgr0, palettes… → planar RGB (gbrp), which is exact;
    grey → 4:2:0 with neutral chroma; uncommon subsampling → 4:4:4. Alpha is kept.
    """
    if layout_of(frame) is not None:
        return frame
    fmt = frame.format
    parts = fmt.components
    bits = 8 if fmt.has_palette else max(part.bits for part in parts)
    depth = next((known for known in (8, 10, 12) if known >= bits), 16)
    alpha = "a" if fmt.has_palette or any(part.is_alpha for part in parts) else ""
    suffix = "p" if depth == 8 else f"p{depth}le"
    if fmt.is_rgb or fmt.has_palette:
        name = f"gbr{alpha}{suffix}"
    elif len(parts) < 3:
        return _grey_to_planar(frame) if not alpha and bits in (8, 10, 12) else frame.reformat(format=f"yuv{alpha}444p")
    else:
        chroma = parts[1]
        ratio = (round(fmt.width / chroma.width), round(fmt.height / chroma.height))
        name = f"yuv{alpha}{ {(2, 2): '420', (2, 1): '422'}.get(ratio, '444') }{suffix}"
    out = frame.reformat(format=name)
    if not fmt.is_rgb and not fmt.has_palette:
        out.colorspace, out.color_range = frame.colorspace, frame.color_range
    return out


def _grey_to_planar(frame: av.VideoFrame) -> av.VideoFrame:
    bits = frame.format.components[0].bits
    name = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
    out = av.VideoFrame(frame.width, frame.height, name)
    out.colorspace, out.color_range = int(frame.colorspace), int(frame.color_range)
    layout = layout_of(out)
    assert_layout(layout, name)
    np.copyto(plane_array(out, 0, layout), plane_array(frame, 0, layout))  # type: ignore[arg-type]
    for index in (1, 2):
        plane_array(out, index, layout)[:] = 1 << (bits - 1)  # type: ignore[arg-type]
    return out


def assert_layout(layout: Layout | None, name: str) -> None:
    """Raise ValueError where a format is not planar."""
    if layout is None:
        raise ValueError(f"{name} is not a planar pixel format")


def widen(plane: Float) -> Float:
    """Columns twice as many: sample c with neighbours l, r becomes c ∓ (r − l)/8. (h, w + 2) → (h, 2·w)."""
    slope = cv2.subtract(plane[:, 2:], plane[:, :-2]) * np.float32(0.125)
    middle = np.ascontiguousarray(plane[:, 1:-1])
    pair = cv2.merge([cv2.subtract(middle, slope), cv2.add(middle, slope)])
    return pair.reshape(plane.shape[0], -1)


def heighten(plane: Float) -> Float:
    """Rows twice as many, the same way. (h + 2, w) → (2·h, w)."""
    slope = cv2.subtract(plane[2:], plane[:-2]) * np.float32(0.125)
    middle = plane[1:-1]
    out = np.empty((2 * middle.shape[0], middle.shape[1]), np.float32)
    cv2.subtract(middle, slope, dst=out[0::2])
    cv2.add(middle, slope, dst=out[1::2])
    return out


def chroma_up(plane: np.ndarray, box: tuple[int, int, int, int], cell: tuple[int, int]) -> Float:
    """Chroma of a box of luma pixels: (y1 − y0, x1 − x0) float32 codes. No value depends on where the box ends."""
    x0, y0, x1, y1 = box
    across, down = cell
    low_x, high_x, low_y, high_y = x0 // across, -(-x1 // across), y0 // down, -(-y1 // down)
    wide, high = int(across > 1), int(down > 1)
    rows, columns = plane.shape
    part = plane[
        max(low_y - high, 0) : min(high_y + high, rows), max(low_x - wide, 0) : min(high_x + wide, columns)
    ].astype(np.float32)
    short = (low_y - high < 0, high_y + high > rows, low_x - wide < 0, high_x + wide > columns)
    if any(short):
        top, bottom, left, right = (int(side) for side in short)
        part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    if wide:
        part = widen(part)
    if high:
        part = heighten(part)
    left, top = x0 - low_x * across, y0 - low_y * down
    return part[top : top + y1 - y0, left : left + x1 - x0]


def cell_means(values: Float, cell: tuple[int, int]) -> Float:
    """Mean over each cell. (H, W) with H, W whole numbers of cells → (H / rows, W / columns) float32."""
    across, down = cell
    if (across, down) == (1, 1):
        return values
    height, width = values.shape
    return cv2.resize(values, (width // across, height // down), interpolation=cv2.INTER_AREA)


def turned(frame: av.VideoFrame, quarter_turns: int, mirror: bool) -> av.VideoFrame:
    """The picture mirrored left-right if asked, then turned clockwise by quarters. 4:2:2 on its side becomes 4:4:4."""
    quarter_turns %= 4
    layout = layout_of(frame)
    assert_layout(layout, frame.format.name)
    if quarter_turns % 2 and layout.cell[0] != layout.cell[1]:  # type: ignore[union-attr]
        tags = frame.colorspace, frame.color_range
        frame = frame.reformat(format=frame.format.name.replace("422", "444"))
        frame.colorspace, frame.color_range = tags
        layout = layout_of(frame)
    size = (frame.height, frame.width) if quarter_turns % 2 else (frame.width, frame.height)
    out: Any = blank_like(frame, *size)
    for index in range(len(frame.planes)):
        plane = plane_array(frame, index, layout)  # type: ignore[arg-type]
        plane = plane[:, ::-1] if mirror else plane
        np.copyto(plane_array(out, index, layout), np.rot90(plane, -quarter_turns))  # type: ignore[arg-type]
    return out
