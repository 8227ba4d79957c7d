"""The values that travel between stages: frozen, small, with checked shapes and read-only arrays."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in frame pixels, end excluded."""


def frozen(array: np.ndarray, dtype: type, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Return `array` as a read-only array of `dtype`, or raise ValueError where `shape` (None = any) does not fit."""
    out: np.ndarray = np.asarray(array, dtype=dtype)
    fits = out.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, out.shape, strict=True))
    if not fits:
        raise ValueError(f"{name}: shape {out.shape}, expected {shape}")
    if out.flags.writeable:
        out = out.view()
        out.flags.writeable = False
    return out


@runtime_checkable
class Picture(Protocol):
    """One picture in whatever pixel format it was decoded to; only the asked region is converted to RGB.

    Working on regions keeps every sample that is not edited exactly as it was decoded (bit depth and chroma included)
    and avoids two whole-frame colour conversions a frame.
    """

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def region(self, box_xyxy: Box) -> Float:
        """RGB of a region inside the picture: (h, w, 3) float32 in [0, 1]."""
        ...

    def shrunk(self, box_xyxy: Box, size: tuple[int, int]) -> Float:
        """RGB of a region averaged down to `size` (width, height), at most the region's own: (h, w, 3) in [0, 1].

        Cheaper than `region` and a resize: fewer pixels are converted. The same but for how chroma is interpolated.
        """
        ...

    def thumbnail(self, long_side_px: int) -> Bytes:
        """The whole picture shrunk so that its long side is at most `long_side_px`: (h, w, 3) uint8 RGB."""
        ...

    def rgb(self) -> Bytes:
        """The whole picture as (H, W, 3) uint8 RGB, rounded (not truncated)."""
        ...

    def blend(self, box_xyxy: Box, rgb: Float, alpha: Float) -> Picture:
        """A new picture with `rgb` laid over the region: alpha·rgb + (1 − alpha)·old.

        Args:
            rgb: (h, w, 3) float32 in [0, 1].
            alpha: (h, w) float32 in [0, 1]. Samples that alpha = 0 alone covers stay bit-identical.
        """
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: position in the stream, from 0, without gaps.
        time_s: presentation time in exact seconds from the start of the video stream (first frame of a normal file: 0).
        picture: its pixels.
    """

    index: int
    time_s: Fraction
    picture: Picture


@dataclass(frozen=True, slots=True)
class Face:
    """One face seen in one frame.

    Attributes:
        track_id: the same number as long as the same person is followed inside one shot; never reused in a video.
        landmarks: (468, 2) float32, frame pixels, the mesh's own vertex order.
        score: detector's confidence in [0, 1].
        visible: share of the mesh inside the picture, in [0, 1].
    """

    track_id: int
    landmarks: Float
    score: float
    visible: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "landmarks", frozen(self.landmarks, np.float32, (None, 2), "Face.landmarks"))

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Tight box around the landmarks, frame pixels."""
        low, high = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """The face to edit in one frame, smoothed along its track, with the transform to the fixed template.

    Attributes:
        track_id: see `Face`.
        points: (3, 2) float32, left-brow centre, right-brow centre, nose, frame pixels ("left" = smaller x).
        frame_to_crop: (2, 3) float32 affine from frame pixels to crop pixels (pixel centres at integer coordinates).
        landmarks: (468, 2) float32 smoothed mesh, frame pixels.
        score: detector's confidence in [0, 1].
    """

    track_id: int
    points: Float
    frame_to_crop: Float
    landmarks: Float
    score: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", frozen(self.points, np.float32, (3, 2), "AlignedFace.points"))
        object.__setattr__(self, "frame_to_crop", frozen(self.frame_to_crop, np.float32, (2, 3), "frame_to_crop"))
        object.__setattr__(self, "landmarks", frozen(self.landmarks, np.float32, (None, 2), "AlignedFace.landmarks"))
