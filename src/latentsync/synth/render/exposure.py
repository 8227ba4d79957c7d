"""What happens while the shutter is open: motion blur, and rows that are exposed one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from latentsync.core.values import Float
from latentsync.synth.arrays import Ints
from latentsync.synth.render.geometry import OPTIONS

TILE_PX = 8
SMALLEST_PX = 0.3
"""Movement under this is not blurred."""
REACH_PX = 40.0
"""Longest blur and shift; more would need movement that a neighbour tile does not know of."""


@dataclass(frozen=True)
class Exposure:
    """Time of a frame, in frames: how long each row sees light, and how much later the last row is than the first.

    The middle row's exposure is centred on the frame's own time.
    """

    shutter: float = 0.0
    readout: float = 0.0

    def row_delay(self, y: Float, size_px: int) -> Float:
        """How much later than the frame's time rows `y` (pixel centres at integers) are exposed, in frames."""
        out: Float = ((y + np.float32(0.5)) / np.float32(size_px) - np.float32(0.5)) * np.float32(self.readout)
        return out


@njit(**OPTIONS)
def tile_motion(s: Float, before: Float, tri: Ints, index: Ints, motion: Float, weight: Float) -> None:
    """Mean motion (pixels a frame) of what each tile shows, to `motion` (n, n, 2); samples seen, to `weight` (n, n).

    `s` and `before` are projected vertices in sample coordinates, two a pixel, now and a frame ago.
    """
    n = weight.shape[0]
    size = index.shape[0]
    motion[:], weight[:] = 0, 0
    step = TILE_PX
    for y in range(step // 2, size, step):
        for x in range(step // 2, size, step):
            t = index[y, x]
            if t < 0:
                continue
            i, j = min(y // (2 * TILE_PX), n - 1), min(x // (2 * TILE_PX), n - 1)
            for k in range(3):
                v = tri[t, k]
                motion[i, j, 0] += (s[v, 0] - before[v, 0]) / 6
                motion[i, j, 1] += (s[v, 1] - before[v, 1]) / 6
            weight[i, j] += 1


@njit(**OPTIONS)
def smear(colour: Float, cover: Float, motion: Float, shutter: float, readout: float, out: Float) -> None:
    """Gather along the motion: `out` (H, W, 4) is colour times coverage, and coverage, as the open shutter sums them.

    Args:
        colour, cover: (H, W, 3), (H, W), see `resolve`; not changed.
        motion: (n, n, 2) pixels a frame, one for each tile of TILE_PX pixels.
    """
    height, width = cover.shape
    n = motion.shape[0]
    for y in range(height):
        ty = min(max((y + 0.5) / TILE_PX - 0.5, 0.0), n - 1.001)
        i = int(ty)
        fy = ty - i
        delay = ((y + 0.5) / height - 0.5) * readout
        for x in range(width):
            tx = min(max((x + 0.5) / TILE_PX - 0.5, 0.0), n - 1.001)
            j = int(tx)
            fx = tx - j
            vx = (1 - fy) * ((1 - fx) * motion[i, j, 0] + fx * motion[i, j + 1, 0])
            vx += fy * ((1 - fx) * motion[i + 1, j, 0] + fx * motion[i + 1, j + 1, 0])
            vy = (1 - fy) * ((1 - fx) * motion[i, j, 1] + fx * motion[i, j + 1, 1])
            vy += fy * ((1 - fx) * motion[i + 1, j, 1] + fx * motion[i + 1, j + 1, 1])
            speed = math.sqrt(vx * vx + vy * vy)
            if speed * max(shutter, abs(delay)) < SMALLEST_PX:
                for c in range(3):
                    out[y, x, c] = colour[y, x, c] * cover[y, x]
                out[y, x, 3] = cover[y, x]
                continue
            limit = min(REACH_PX / speed, 1.0)
            taps = min(max(int(math.ceil(speed * shutter * limit)), 1), 16)
            r = g = b = k = 0.0
            for q in range(taps):
                at = (delay + shutter * ((q + 0.5) / taps - 0.5)) * limit
                px = min(max(x - vx * at, 0.0), width - 1.001)
                py = min(max(y - vy * at, 0.0), height - 1.001)
                u, v = int(px), int(py)
                ax, ay = px - u, py - v
                for e in range(4):
                    yy, xx = v + (e >> 1), u + (e & 1)
                    share = (ay if e >> 1 else 1 - ay) * (ax if e & 1 else 1 - ax) * cover[yy, xx]
                    r += share * colour[yy, xx, 0]
                    g += share * colour[yy, xx, 1]
                    b += share * colour[yy, xx, 2]
                    k += share
            out[y, x, 0], out[y, x, 1], out[y, x, 2], out[y, x, 3] = r / taps, g / taps, b / taps, k / taps


@njit(**OPTIONS)
def divide(summed: Float, colour: Float, cover: Float) -> None:
    """`smear`'s sums (H, W, 4) back to colour and coverage."""
    for y in range(cover.shape[0]):
        for x in range(cover.shape[1]):
            k = summed[y, x, 3]
            cover[y, x] = k
            e = 1 / k if k > 1e-4 else 0.0
            for c in range(3):
                colour[y, x, c] = summed[y, x, c] * e


def expose(
    exposure: Exposure, screen: Float, before: Float, tri: Ints, index: Ints, colour: Float, cover: Float, summed: Float
) -> bool:
    """Blur and shift a finished picture in linear light, in place.

    Args:
        screen, before: (V, 3) projected vertices in sample coordinates, now and one frame ago.
        index: (2H, 2W) triangle of each sample. colour, cover: (H, W, 3), (H, W). summed: (H, W, 4) scratch.
    Returns: whether anything moved enough.
    """
    import cv2

    n = -(-cover.shape[0] // TILE_PX)
    motion, weight = np.zeros((n, n, 2), np.float32), np.zeros((n, n), np.float32)
    tile_motion(screen, before, tri, index, motion, weight)
    mean = motion / np.maximum(weight, 1)[..., None]
    fastest = float(np.hypot(mean[..., 0], mean[..., 1]).max())
    if fastest * max(exposure.shutter, exposure.readout / 2) < SMALLEST_PX:
        return False
    wide = int(min(fastest * (exposure.shutter + exposure.readout) / 2, REACH_PX) // TILE_PX) + 1
    for _ in range(wide):  # what moves also blurs into the tiles beside it
        around = cv2.blur(motion, (3, 3)) / np.maximum(cv2.blur(weight, (3, 3)), 1e-6)[..., None]
        empty = weight == 0
        known = empty & (cv2.dilate(weight, np.ones((3, 3), np.uint8)) > 0)
        motion[known], weight[known] = around[known], 1
    field = np.ascontiguousarray(motion / np.maximum(weight, 1)[..., None])
    smear(colour, cover, field, exposure.shutter, exposure.readout, summed)
    divide(summed, colour, cover)
    return True
