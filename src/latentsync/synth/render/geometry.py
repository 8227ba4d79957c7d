"""Numba kernels on vertices: normals, projection, depth map, shadow look-up. Arrays are float32, pixels have y down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from latentsync.core.values import Float
from latentsync.synth.arrays import Bools, Ints

OPTIONS: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy", "boundscheck": False}
"""Compiled once and kept on disk; `fastmath` is repeatable on one machine, not between processor types."""
INLINE: dict[str, Any] = {**OPTIONS, "inline": "always"}
"""For helpers of inner loops: a call that hands over ten arrays costs more than most of them do."""


@njit(**OPTIONS)
def vertex_normals(v: Float, tri: Ints, n: Float) -> None:
    """Area-weighted unit normals of (V, 3) points, written to `n`."""
    n[:] = 0
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
        wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
        x, y, z = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for k in (a, b, c):
            n[k, 0] += x
            n[k, 1] += y
            n[k, 2] += z
    for i in range(n.shape[0]):
        s = 1 / math.sqrt(n[i, 0] ** 2 + n[i, 1] ** 2 + n[i, 2] ** 2 + 1e-12)
        n[i, 0] *= s
        n[i, 1] *= s
        n[i, 2] *= s


@njit(**OPTIONS)
def add_shape(points: Float, index: Ints, delta: Float, weight: float) -> None:
    """points[index] += weight · delta."""
    w = np.float32(weight)
    for i in range(index.shape[0]):
        k = index[i]
        points[k, 0] += w * delta[i, 0]
        points[k, 1] += w * delta[i, 1]
        points[k, 2] += w * delta[i, 2]


@njit(**OPTIONS)
def lattice_noise(lattice: Float, points: Float, scale: float, shift: float, out: Float) -> None:
    """Trilinear look-up of a periodic (n, n, n) lattice at (points + shift) · scale; points (N, 3), out (N,)."""
    n = lattice.shape[0]
    for q in range(points.shape[0]):
        x, y, z = (points[q, 0] + shift) * scale, (points[q, 1] + shift) * scale, (points[q, 2] + shift) * scale
        fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
        i, j, k = int(fx) % n, int(fy) % n, int(fz) % n
        x, y, z = x - fx, y - fy, z - fz
        i2, j2, k2 = (i + 1) % n, (j + 1) % n, (k + 1) % n
        a = (1 - z) * lattice[i, j, k] + z * lattice[i, j, k2]
        b = (1 - z) * lattice[i, j2, k] + z * lattice[i, j2, k2]
        c = (1 - z) * lattice[i2, j, k] + z * lattice[i2, j, k2]
        d = (1 - z) * lattice[i2, j2, k] + z * lattice[i2, j2, k2]
        out[q] = (1 - x) * ((1 - y) * a + y * b) + x * ((1 - y) * c + y * d)


@njit(**OPTIONS)
def gaussian(points: Float, centre: Float, radius: Float, out: Float) -> None:
    """exp(−|(points − centre) / radius|²) of (N, 3) points to `out` (N,); 0 beyond 3.5 radii, where it is < 5e-6."""
    for q in range(points.shape[0]):
        x = (points[q, 0] - centre[0]) / radius[0]
        y = (points[q, 1] - centre[1]) / radius[1]
        z = (points[q, 2] - centre[2]) / radius[2]
        d = x * x + y * y + z * z
        out[q] = math.exp(-d) if d < 12.25 else 0.0


@njit(**OPTIONS)
def project(p: Float, m: Float, width: int, height: int, out: Float) -> None:
    """Points (V, 3) through the 4×4 matrix `m` to pixels x, y and depth in [−1, 1] (nearer = smaller), to `out`."""
    for i in range(p.shape[0]):
        x, y, z = p[i, 0], p[i, 1], p[i, 2]
        iw = 1 / (m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3])
        out[i, 0] = ((m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * iw * 0.5 + 0.5) * width
        out[i, 1] = (0.5 - (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * iw * 0.5) * height
        out[i, 2] = (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]) * iw


@njit(**OPTIONS)
def move_rigid(p: Float, n: Float, pose: Float, weight: Float, out_p: Float, out_n: Float) -> None:
    """Blend two rigid moves.

    `pose` is (2, 3, 4): torso and head, each a rotation and a translation (cm). A point with weight 1 follows the head,
    with weight 0 the torso. Normals turn with the head where its weight is over a half.
    """
    for i in range(p.shape[0]):
        w = weight[i]
        k = 1 if w > 0.5 else 0
        for r in range(3):
            a = pose[0, r, 0] * p[i, 0] + pose[0, r, 1] * p[i, 1] + pose[0, r, 2] * p[i, 2] + pose[0, r, 3]
            b = pose[1, r, 0] * p[i, 0] + pose[1, r, 1] * p[i, 1] + pose[1, r, 2] * p[i, 2] + pose[1, r, 3]
            out_p[i, r] = a + w * (b - a)
            out_n[i, r] = pose[k, r, 0] * n[i, 0] + pose[k, r, 1] * n[i, 1] + pose[k, r, 2] * n[i, 2]


@njit(**OPTIONS)
def depth_map(s: Float, tri: Ints, material: Ints, cull: Bools, chosen: Ints, z_map: Float) -> None:
    """Nearest depth of the chosen triangles (projected vertices `s`) into `z_map` (H, W); empty cells hold 2."""
    height, width = z_map.shape
    z_map[:] = 2.0
    for q in range(chosen.shape[0]):
        t = chosen[q]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        x0, y0, x1, y1, x2, y2 = s[a, 0], s[a, 1], s[b, 0], s[b, 1], s[c, 0], s[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if (cull[material[t]] and area >= 0) or abs(area) < 1e-9:
            continue
        left, right = max(int(min(x0, x1, x2) + 0.5), 0), min(int(max(x0, x1, x2) + 0.5), width - 1)
        top, bottom = max(int(min(y0, y1, y2) + 0.5), 0), min(int(max(y0, y1, y2) + 0.5), height - 1)
        ia = 1 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * ia
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * ia
                w0 = 1 - w1 - w2
                if w0 >= 0 and w1 >= 0 and w2 >= 0:
                    z = w0 * s[a, 2] + w1 * s[b, 2] + w2 * s[c, 2]
                    if z < z_map[y, x]:
                        z_map[y, x] = z


@njit(**INLINE)
def shadow_at(z_map: Float, x: float, y: float, z: float, taps: int) -> float:
    """Share of the light that arrives at depth `z` over position x, y of the light's depth map, filtered, in [0, 1]."""
    height, width = z_map.shape
    total = 0.0
    for k in range(taps):
        fx = x - 0.5 + (0.0, 1.3, -1.3, 0.5, -0.5)[k]
        fy = y - 0.5 + (0.0, 0.5, -0.5, -1.3, 1.3)[k]
        i, j = int(math.floor(fx)), int(math.floor(fy))
        if i < 0 or j < 0 or i >= width - 1 or j >= height - 1:
            total += 1.0
            continue
        u, v = fx - i, fy - j
        total += (1 - u) * (1 - v) * (z <= z_map[j, i]) + u * (1 - v) * (z <= z_map[j, i + 1])
        total += (1 - u) * v * (z <= z_map[j + 1, i]) + u * v * (z <= z_map[j + 1, i + 1])
    return total / taps
