"""Colour of a generated crop, matched to the original along the mask's border."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from latentsync.core.values import Float

_CELLS = 32
_BAND = 10 / 256
_OUTLIER = 0.06
"""Difference from the border's median colour shift (in [0, 1]) at which a border cell counts half: hair against a
collar is content, not colour. Chosen by eye on real clips."""


@dataclass(frozen=True, slots=True)
class Border:
    """The band along the inner border of a mask, and the grid cells it crosses.

    Attributes:
        pixels: (n,) flat indices of the band's pixels in the crop.
        cells: (n,) flat index of the grid cell that each of them lies in.
        weight: (32, 32) float64, share of each cell that the band covers.
    """

    pixels: np.ndarray
    cells: np.ndarray
    weight: np.ndarray


@lru_cache(maxsize=8)
def border_of(inside: bytes, side: int) -> Border:
    """The border of a mask, given as the bytes of its (side, side) bool array; computed once per mask."""
    mask = np.frombuffer(inside, dtype=np.uint8).reshape(side, side)
    width = max(1, round(_BAND * side))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    y, x = np.nonzero(mask > cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(1.0,)))
    cells = y * _CELLS // side * _CELLS + x * _CELLS // side
    covered = np.bincount(cells, minlength=_CELLS * _CELLS) / (side / _CELLS) ** 2
    return Border(y * side + x, cells, np.minimum(covered, 1.0).reshape(_CELLS, _CELLS))


def match_border(crop: Float, original: Float, border: Border) -> Float:
    """`crop` plus a slowly varying colour, such that it meets `original` along the inner border of the mask.

    The difference original − crop is averaged in a band along the border on a 32 × 32 grid, cells that stray from the
    median count less, and the grid is filled inwards by averaging over ever larger neighbourhoods (push and pull),
    which is smooth and cannot overshoot the border's values.

    Args:
        crop, original: (R, R, 3) float32 RGB in [0, 1].
        border: of the generated region.
    Returns: (R, R, 3) float32, not clipped: interpolation comes first.
    """
    side = crop.shape[0]
    if not len(border.pixels):
        return crop
    difference = original.reshape(-1, 3)[border.pixels] - crop.reshape(-1, 3)[border.pixels]
    sums = [np.bincount(border.cells, difference[:, c], _CELLS * _CELLS) for c in range(3)]
    used = border.weight > 0
    count = np.maximum(np.bincount(border.cells, minlength=_CELLS * _CELLS), 1)
    shift = (np.stack(sums, axis=1) / count[:, None]).reshape(_CELLS, _CELLS, 3)
    stray = np.abs(shift - np.median(shift[used], axis=0)).max(axis=2)
    weight = border.weight / (1 + (stray / _OUTLIER) ** 2)
    field = _fill(shift.astype(np.float32), weight.astype(np.float32))
    smooth = cv2.GaussianBlur(field, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
    enlarged = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(crop, enlarged), dtype=np.float32)


def _fill(values: Float, weight: Float) -> Float:
    """Weighted samples on an n × n grid (n a power of two) spread over all of it: coarse means fill the gaps.

    Args: values: (n, n, 3). weight: (n, n) in [0, 1]. Returns: (n, n, 3), all float32.
    """
    size = values.shape[0]
    if size == 1:
        return values
    half = (size // 2, 2, size // 2, 2)
    total = weight.reshape(half).sum(axis=(1, 3))
    mean = (values * weight[..., None]).reshape(*half, 3).sum(axis=(1, 3)) / np.maximum(total, 1e-9)[..., None]
    coarse = _fill(mean, np.minimum(total, 1))
    wide = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, 3)
    trust = weight[..., None]
    return np.asarray(trust * values + (1 - trust) * wide, dtype=np.float32)
