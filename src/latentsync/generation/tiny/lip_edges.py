"""Where lips really are in a still picture: a face mesh misses their edges by a few pixels, each edge by its own.

Lips are redder than the skin around them (a* of CIELAB), and the line between closed lips is dark. Where a picture
shows it clearly, each lip's edge, and the line, is moved up or down as a whole.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.core.values import Float

REACH = 9 / 256
"""How far an edge may be moved, crop sides."""
SEAM_REACH = 6 / 256
"""The same of the line between closed lips: further away there are beards."""
ACROSS = 4 / 256
"""Width of the stripes on both sides of an edge whose colours are compared."""
WORTH = 0.2 * 256
"""Units of a* that a way of one crop side has to gain: what is gained by less is noise."""
LEAST = 4.0
"""Units of a* that lips and skin have to differ by more than at the mesh's place, else the mesh is believed: beards,
pale lips. With this limit and the next, closed stills of 11 filmed people whose lips are moved as in other frames of
theirs differ from these by 9.4 levels of 255 on the mouth, with 8 for both by 9.5, with the mesh's edges by 9.5 too;
open stills by 8.2 with any of them (a trial)."""
DARKER = 4.0
"""The same of the seam, units of L*."""
SHUT = 3 / 256
"""Lips less apart than this are closed, crop sides."""
DARK = 1.0
"""The same as `WORTH` for the seam, units of L* a pixel of 256."""

_COLUMNS = np.arange(2, 9)
_OUTER_UPPER, _OUTER_LOWER, _INNER_UPPER, _INNER_LOWER = _COLUMNS, 20 - _COLUMNS, 20 + _COLUMNS, 40 - _COLUMNS
_UPPER, _LOWER = np.arange(1, 10), 20 - np.arange(1, 10)
"""Points of either lip's outer edge between the corners; those of the inner edge are 20 further."""


def edges_found(picture: np.ndarray, lips: Float) -> Float:
    """The lips moved to where their edges are.

    Args:
        picture: (R, R, 3), uint8 or float32 in [0, 1].
        lips: (40, 2) places in crop sides: outer ring, then inner ring, each from corner to corner over the top and
            back.
    Returns: (40, 2) float32; as they are where nothing is to be seen.
    """
    side = len(picture)
    colours = picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 1)
    lab = cv2.GaussianBlur(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB), (0, 0), max(side / 256, 0.3))
    red, light = np.ascontiguousarray(lab[..., 1]), np.ascontiguousarray(lab[..., 0])
    step = np.float32(1 / 256)
    ways = np.arange(-round(REACH / step), round(REACH / step) + 1) * step
    out = np.array(lips, np.float32)
    upper = _best(red, out[_OUTER_UPPER], ways, 1)
    lower = _best(red, out[_OUTER_LOWER], ways, -1)
    shut = bool((out[_INNER_LOWER, 1] - out[_INNER_UPPER, 1]).mean() < SHUT)
    seam = _seam(light, (out[_INNER_UPPER] + out[_INNER_LOWER]) * np.float32(0.5), ways) if shut else None
    for rim, way in ((_UPPER, upper), (_LOWER, lower)):
        out[rim, 1] += way
        out[20 + rim, 1] += way if seam is None else seam
    corners = np.array([0, 10, 20, 30])
    out[corners, 1] += (upper + lower) / 2 if seam is None else seam
    return out


def _along(channel: np.ndarray, edge: Float, offsets: np.ndarray) -> np.ndarray:
    """(len(offsets),) mean of a channel along an edge that is moved down by each of the offsets."""
    side = np.float32(len(channel))
    x = np.broadcast_to(edge[:, 0], (len(offsets), len(edge))) * side - np.float32(0.5)
    y = (edge[None, :, 1] + offsets[:, None]) * side - np.float32(0.5)
    return np.asarray(cv2.remap(channel, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).mean(axis=1))


def _best(red: np.ndarray, edge: Float, ways: np.ndarray, inwards: int) -> float:
    """The way down of an outer edge after which the lip differs most from the skin."""
    stripe = np.linspace(0.25, 1, 4) * ACROSS * inwards
    gained = sum(_along(red, edge, ways + k) - _along(red, edge, ways - k) for k in stripe) / len(stripe)
    best = int(np.argmax(gained - WORTH * np.abs(ways)))
    return float(ways[best]) if gained[best] > gained[len(ways) // 2] + LEAST else 0.0


def _seam(light: np.ndarray, middle: Float, ways: np.ndarray) -> float:
    """The way down to the dark line between closed lips: darker than what is on both sides of it, as the edge of a
    moustache is not."""
    near = ways[np.abs(ways) <= SEAM_REACH]
    found = _along(light, middle, near)
    inner = found[1:-1]
    lines = 1 + np.flatnonzero((inner <= found[:-2]) & (inner <= found[2:]))
    if not len(lines):
        return 0.0
    best = int(lines[np.argmin(found[lines] + DARK * 256 * np.abs(near[lines]))])
    return float(near[best]) if found[best] < found[len(near) // 2] - DARKER else 0.0
