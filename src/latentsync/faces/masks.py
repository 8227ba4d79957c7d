"""The fixed regions of the crop that are generated, drawn from a table of measured outlines.

The four masks of the released tool are bitmaps; their outlines are reproduced pixel for pixel by straight lines
between the knots below (docs/method.md#masks). `mask` is the one that every released model uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import Float

_BASE = 256

_LEFT = ((128, 9), (167, 11.75), (172, 12.75), (175, 15), (179, 16.5), (180, 17.5), (190, 23.5), (192, 25.5),
         (208, 39.75), (210, 43.25), (215, 48.75), (219, 55.75), (224, 63.5), (234, 84.5), (238, 95.25), (241, 107.75),
         (242, 130.5))  # fmt: skip
_RIGHT = ((128, 247), (169, 244), (181, 237.25), (185, 233.75), (187, 233.25), (191, 229.75), (193, 229.25),
          (205, 219.25), (217, 206.25), (219, 202.5), (220, 201.5), (225, 194), (230, 185.25), (236, 170.5), (239,
          163.5), (242, 151.5))  # fmt: skip
_LEFT_SMALL = ((128, 39), (141, 39.75), (147, 41.25), (155, 43), (157, 44), (164, 46.5), (179, 54.75), (189, 62.5),
               (199, 73.75), (201, 77.25), (203, 79.5), (204, 81.5), (209, 89.5), (210, 92.5), (213, 99.5),
               (216, 112.5), (217, 119.5))  # fmt: skip
_RIGHT_SMALL = ((128, 217), (141, 216.25), (147, 214.5), (148, 214.5), (155, 212.75), (165, 209), (179, 201.25),
                (188, 194.25), (199, 182.25), (201, 178.5), (202, 177.5), (207, 169.25), (211, 160.5), (214, 151.5),
                (215, 147.5), (216, 142.5), (217, 135.5))  # fmt: skip

_Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Shape:
    """Rows between two outlines, plus full boxes (y0, y1, x0, x1), all ends included, in the 256 crop."""

    left: _Knots
    right: _Knots
    boxes: tuple[tuple[int, int, int, int], ...] = ()


_SHAPES = {
    "mask": _Shape(_LEFT, _RIGHT, ((95, 127, 9, 77), (95, 127, 178, 246))),
    "mask2": _Shape(_LEFT, _RIGHT),
    "mask3": _Shape(_LEFT_SMALL, _RIGHT_SMALL),
    "mask4": _Shape(_LEFT, _RIGHT, ((60, 127, 9, 246),)),
}


MASKS = tuple(_SHAPES)
"""Names of the masks."""


def inpaint_mask(resolution: int, name: str = "mask", compatible: bool = True) -> Float:
    """The region of the crop that is generated.

    At 256 the mask is binary. Other sizes are made as the released models met them: the 256 bitmap enlarged (or
    shrunk) with 8-bit Lanczos, which leaves a soft edge of a few pixels. With `compatible=False` the outlines
    themselves are scaled and filled, which gives a binary mask at every size.

    Args:
        resolution: side in pixels, 8 or more.
        name: "mask" (cheeks, mouth, jaw, with a notch that keeps the nose), "mask2" (no cheeks above the nose's base),
            "mask3" (a half disc around the mouth), "mask4" (nearly the whole lower face).
        compatible: see above; without effect at 256.
    Returns: (resolution, resolution) float32 in [0, 1], 1 = generated. (The released files store the opposite: 1 =
        kept.)
    Raises: ConfigError: no such mask, or the resolution is too small.
    """
    if name not in _SHAPES:
        raise ConfigError("mask", name, f"choose one of {', '.join(_SHAPES)}")
    if resolution < 8:
        raise ConfigError("resolution", resolution, "choose 8 or more")
    shape = _SHAPES[name]
    if resolution == _BASE or not compatible:
        return _fill(shape, resolution).astype(np.float32)
    keep = np.where(_fill(shape, _BASE), 0, 255).astype(np.uint8)
    enlarged = cv2.resize(keep, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return np.float32(1) - enlarged.astype(np.float32) / np.float32(255)


def latent_mask(mask: Float, factor: int = 8) -> Float:
    """The mask at the latents' size: sample (factor·i, factor·j), the nearest-neighbour rule of the released models.

    Args:
        mask: (H, W) float32, H and W multiples of `factor`.
        factor: pixels per latent cell.
    Returns: (H/factor, W/factor) float32.
    Raises: ValueError: the sides are not multiples of `factor`.
    """
    if mask.ndim != 2 or mask.shape[0] % factor or mask.shape[1] % factor:
        raise ValueError(f"mask {mask.shape}: sides must be multiples of {factor}")
    return np.ascontiguousarray(mask[::factor, ::factor])


def _fill(shape: _Shape, resolution: int) -> np.ndarray:
    """(resolution, resolution) bool: pixels whose centres lie inside the outlines, scaled from 256."""
    centres = (np.arange(resolution) + 0.5) * (_BASE / resolution) - 0.5
    out = np.zeros((resolution, resolution), dtype=bool)
    left_y, left_x = np.array(shape.left).T
    right_y, right_x = np.array(shape.right).T
    # A pixel of the 256 grid covers half a pixel on each side of its centre: so do a range's inclusive ends.
    rows = (centres >= left_y[0] - 0.5) & (centres < left_y[-1] + 0.5)
    left = np.interp(centres, left_y, left_x)
    right = np.interp(centres, right_y, right_x)
    if resolution == _BASE:
        left, right = np.floor(left + 0.5), np.floor(right + 0.5)
    x = centres[None, :]
    out |= rows[:, None] & (x >= left[:, None]) & (x <= right[:, None])
    for y0, y1, x0, x1 in shape.boxes:
        inside_y = (centres >= y0 - 0.5) & (centres < y1 + 0.5)
        inside_x = (centres >= x0 - 0.5) & (centres < x1 + 0.5)
        out |= inside_y[:, None] & inside_x[None, :]
    return out
