"""Numba kernel that decides which triangle each of the 2×2 samples of a pixel shows, with see-through hair."""

from __future__ import annotations

import math

from numba import njit

from latentsync.core.values import Float
from latentsync.synth.render.geometry import INLINE, OPTIONS, Bools, Ints
from latentsync.synth.render.materials import RIBBON, SHELL


@njit(**INLINE)
def hash_cell(x: float, y: float, z: float) -> float:
    """A number in [0, 1] that is fixed for the integer cell x, y, z."""
    h = (int(x) * 73856093) ^ (int(y) * 19349663) ^ (int(z) * 83492791)
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF) / 65535.0


@njit(**INLINE)
def shell_alpha(x: float, y: float, z: float, cells: float, level: float, density: float, stretch: float) -> float:
    """Opacity of one hair shell: a cell of space holds one tuft, thinner towards level 1, its tip."""
    x, y, z = x * cells, y * cells * stretch, z * cells
    a, b, c = math.floor(x), math.floor(y), math.floor(z)
    h = hash_cell(a, b, c)
    x, y, z = x - a - 0.5, y - b - 0.5, z - c - 0.5
    if level * 0.95 + 0.02 > h * 0.9 + 0.35 * density:
        return 0.0
    d = math.sqrt(x * x + y * y * 0.5 + z * z)
    body = min(max((0.66 - d - level * 0.28) * 3.2, 0.0), 1.0)
    return body * min(max((density - h * 0.35 + 0.1) * 2.5, 0.0), 1.0)


@njit(**INLINE)
def strand(texture: Float, u: float, which: float, v: float) -> float:
    """Brightness of the hairs across (u) and along (v) ribbon number `which`; the width is a power of 2."""
    h, k = texture.shape
    return texture[int(v * (h - 1)), int((u * 0.25 + which) * k) & (k - 1)]


@njit(**INLINE)
def dither(x: int, y: int) -> float:
    """Threshold of sample x, y. Hair uses two samples of a pixel; with the neighbour pixel they make four levels."""
    return ((x & 1) * 2 + ((x >> 1) + (y >> 1) & 1) + 0.5) * 0.25


@njit(**INLINE)
def hair_shows(
    m: int,
    a: int,
    b: int,
    c: int,
    w0: float,
    w1: float,
    w2: float,
    x: int,
    y: int,
    uv: Float,
    rest: Float,
    att: Float,
    strands: Float,
) -> bool:
    """Whether the sample x, y of a hair triangle is hair."""
    if m == RIBBON:
        u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
        v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
        q = strand(strands, u, att[a, 2], v)
        alpha = min(u * 6, 1.0) * min((1 - u) * 6, 1.0)
        alpha *= min(max((1 - v - 0.45 * (q - 0.5)) * 2, 0.0), 1.0) * min((q + 0.1) * 3.3, 1.0)
        return alpha > dither(x, y)
    rx = w0 * rest[a, 0] + w1 * rest[b, 0] + w2 * rest[c, 0]
    ry = w0 * rest[a, 1] + w1 * rest[b, 1] + w2 * rest[c, 1]
    rz = w0 * rest[a, 2] + w1 * rest[b, 2] + w2 * rest[c, 2]
    density = w0 * att[a, 1] + w1 * att[b, 1] + w2 * att[c, 1]
    return shell_alpha(rx, ry, rz, att[a, 3], att[a, 2], density, uv[a, 0]) > dither(x, y)


@njit(**OPTIONS)
def raster(
    s: Float,
    tri: Ints,
    material: Ints,
    num: int,
    cull: Bools,
    away: Bools,
    uv: Float,
    rest: Float,
    att: Float,
    strands: Float,
    z_map: Float,
    index: Ints,
) -> None:
    """Draw triangles 0 … num − 1: nearest depth to `z_map` and triangle number to `index`, both (2H, 2W).

    `s` holds the projected vertices in sample coordinates. Hair triangles must come last, for speed only.
    """
    height, width = z_map.shape
    for t in range(num):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        m = material[t]
        if away[a] and away[b] and away[c]:
            continue
        x0, y0, x1, y1, x2, y2 = s[a, 0], s[a, 1], s[b, 0], s[b, 1], s[c, 0], s[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if (cull[m] and area >= 0) or abs(area) < 1e-9:
            continue
        left = max(int(math.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(math.floor(max(x0, x1, x2) - 0.5)), width - 1)
        top = max(int(math.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(math.floor(max(y0, y1, y2) - 0.5)), height - 1)
        if right < left or bottom < top:
            continue
        ia = 1 / area
        first, last = left, right
        ex1, ey1, ex2, ey2 = (y2 - y0) * ia, -(x2 - x0) * ia, -(y1 - y0) * ia, (x1 - x0) * ia
        z0, dz1, dz2 = s[a, 2], s[b, 2] - s[a, 2], s[c, 2] - s[a, 2]
        for y in range(top, bottom + 1):
            py = y + 0.5 - y0
            if last - first > 5:  # the span of this row, from the three edges
                lo, hi = float(first), float(last)
                g = first + 0.5 - x0
                for k in range(3):
                    if k == 0:
                        at, e = g * ex1 + py * ey1, ex1
                    elif k == 1:
                        at, e = g * ex2 + py * ey2, ex2
                    else:
                        at, e = 1 - (g * (ex1 + ex2) + py * (ey1 + ey2)), -(ex1 + ex2)
                    if e > 1e-12:
                        lo = max(lo, first - at / e - 0.01)
                    elif e < -1e-12:
                        hi = min(hi, first - at / e + 0.01)
                    elif at < 0:
                        hi = -1.0
                left, right = int(math.ceil(lo)), int(math.floor(hi))
                if right < left:
                    continue
            hair = m == RIBBON or m == SHELL
            step = 1
            if hair:  # only the samples (0, 0) and (1, 1) of a pixel
                left += (left ^ y) & 1
                step = 2
            px = left + 0.5 - x0
            w1, w2 = px * ex1 + py * ey1, px * ex2 + py * ey2
            for x in range(left, right + 1, step):
                if w1 >= 0 and w2 >= 0 and w1 + w2 <= 1:
                    z = z0 + w1 * dz1 + w2 * dz2
                    if z < z_map[y, x] and (
                        not hair or hair_shows(m, a, b, c, 1 - w1 - w2, w1, w2, x, y, uv, rest, att, strands)
                    ):
                        z_map[y, x] = z
                        index[y, x] = t
                w1 += ex1 * step
                w2 += ex2 * step
