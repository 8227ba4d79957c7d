"""Colour of a generated crop, matched to the original along the mask's border."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from latentsync.core.values import Box, Float

_CELLS = 32
_BAND = 10 / 256
_OUTLIER = 0.06
"""Difference from the border's median colour shift (in [0, 1]) at which a border cell counts half: hair against a
collar is content, not colour. Chosen by eye on real clips."""


@dataclass(frozen=True, slots=True)
class Border:
    """The band along the inner border of a mask, and the grid cells it crosses.

    Attributes:
        pixels: (n,) flat indices of the band's pixels in the crop, those of one cell behind one another.
        starts: (m,) index into `pixels` of the first one of each crossed cell.
        cells: (m,) flat index of each crossed cell.
        counts: (m, 1) float32, the band's pixels in it.
        weight: (32, 32) float32, share of each cell that the band covers.
    """

    pixels: np.ndarray
    starts: np.ndarray
    cells: np.ndarray
    counts: np.ndarray
    weight: Float


@lru_cache(maxsize=8)
def border_of(inside: bytes, side: int) -> Border:
    """The border of a mask, given as the bytes of its (side, side) bool array; computed once per mask."""
    mask = np.frombuffer(inside, dtype=np.uint8).reshape(side, side)
    width = max(1, round(_BAND * side))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    y, x = np.nonzero(mask > cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(1.0,)))
    cell_of = y * _CELLS // side * _CELLS + x * _CELLS // side
    order = np.argsort(cell_of, kind="stable")
    cells, starts, counts = np.unique(cell_of[order], return_index=True, return_counts=True)
    weight = np.zeros(_CELLS * _CELLS, np.float32)
    weight[cells] = np.minimum(counts / (side / _CELLS) ** 2, 1.0)
    return Border(
        (y * side + x)[order], starts, cells, counts[:, None].astype(np.float32), weight.reshape(_CELLS, _CELLS)
    )


def match_border(crop: Float, original: Float, border: Border, window: Box | None = None) -> Float:
    """`crop` plus a slowly varying colour, such that it meets `original` along the inner border of the mask.

    The difference original − crop is averaged in a band along the border on a 32 × 32 grid, cells that stray from the
    median count less, and the grid is filled inwards by averaging over ever larger neighbourhoods (push and pull),
    which is smooth and cannot overshoot the border's values.

    Args:
        crop, original: (R, R, 3) float32 RGB in [0, 1].
        border: of the generated region.
        window: the part of the crop that is wanted; None = all of it.
    Returns: (y1 − y0, x1 − x0, 3) float32 of the window, not clipped: interpolation comes first.
    """
    side = crop.shape[0]
    x0, y0, x1, y1 = window or (0, 0, side, side)
    if not len(border.pixels):
        return crop[y0:y1, x0:x1]
    field = _border_shift(crop, original, border)
    smooth = cv2.GaussianBlur(field, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
    enlarged = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(crop[y0:y1, x0:x1], enlarged[y0:y1, x0:x1]), dtype=np.float32)


def _border_shift(crop: Float, original: Float, border: Border) -> Float:
    """Colour to add on each cell of the grid, (32, 32, 3) float32, filled from the cells that the border crosses."""
    flat_original, flat_crop = original.reshape(-1, 3), crop.reshape(-1, 3)
    difference = flat_original.take(border.pixels, axis=0) - flat_crop.take(border.pixels, axis=0)
    means = np.add.reduceat(difference, border.starts, axis=0) / border.counts
    stray = np.abs(means - np.median(means, axis=0)).max(axis=1)
    shift = np.zeros((_CELLS * _CELLS, 3), np.float32)
    shift[border.cells] = means
    weight = border.weight.copy().reshape(-1)
    weight[border.cells] /= 1 + (stray / _OUTLIER) ** 2
    return _fill(shift.reshape(_CELLS, _CELLS, 3), weight.reshape(_CELLS, _CELLS))


def _fill(values: Float, weight: Float) -> Float:
    """Weighted samples on an n × n grid (n a power of two) spread over all of it: coarse means fill the gaps.

    Args: values: (n, n, 3). weight: (n, n) in [0, 1]. Returns: (n, n, 3), all float32.
    """
    size = values.shape[0]
    if size == 1:
        return values
    trust = cv2.merge([weight] * 3)
    known, half = cv2.multiply(values, trust), (size // 2, size // 2)
    total = cv2.resize(weight, half, interpolation=cv2.INTER_AREA).reshape(half)  # of each 2 × 2 cells, a quarter
    sums = cv2.resize(known, half, interpolation=cv2.INTER_AREA).reshape(*half, 3)
    coarse = _fill(sums / np.maximum(total, 1e-9)[..., None], np.minimum(4 * total, 1))
    wide = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, 3)
    return np.asarray(cv2.add(known, cv2.subtract(wide, cv2.multiply(wide, trust))), dtype=np.float32)
