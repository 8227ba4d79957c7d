"""Small fields over space that skin and hair are painted with: steps, blobs, lattice noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentsync.synth.arrays import Real
from latentsync.synth.render.geometry import gaussian, lattice_noise


def smoothstep(low: float, high: float, x: Any) -> Any:
    """0 at `low`, 1 at `high` (which may be the smaller one), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blob(points: Real, centre: tuple[float, ...], radius: tuple[float, ...]) -> Real:
    """Gaussian around `centre` (cm) with a radius for each axis; points (..., 3) → (...)."""
    flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
    out = np.empty(len(flat), np.float32)
    gaussian(flat, np.asarray(centre, np.float32), np.asarray(radius, np.float32), out)
    return out.reshape(points.shape[:-1])


def both_sides(points: Real, centre: tuple[float, float, float], radius: tuple[float, ...]) -> Real:
    """`blob` on the given side and on the other side of the face."""
    x, y, z = centre
    return blob(points, centre, radius) + blob(points, (-x, y, z), radius)


class Noise:
    """Smooth repeatable noise of about unit deviation: a periodic lattice of normal values, looked up linearly."""

    def __init__(self, rng: np.random.Generator, cells: int = 48) -> None:
        self._lattice = rng.normal(size=(cells, cells, cells)).astype(np.float32)

    def at(self, points: Real, per_cm: float, shift_cm: float = 0.0) -> Real:
        """Noise with `per_cm` lattice cells per centimetre; points (..., 3) → (...)."""
        q = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
        out = np.empty(len(q), np.float32)
        lattice_noise(self._lattice, q, per_cm, shift_cm, out)
        return out.reshape(points.shape[:-1])

    def octaves(self, points: Real, per_cm: float, num: int = 3) -> Real:
        """Sum of `num` octaves, each 0.6 of the one before."""
        out = self.at(points, per_cm)
        for k in range(1, num):
            out = out + self.at(points, per_cm * 2**k, 7.1 * k) * np.float32(0.6**k)
        return out


def spline(points: Real, steps: int = 24) -> Real:
    """Closed Catmull-Rom curve through (N, 2) points → (N · steps, 2)."""
    p, k = np.asarray(points, np.float64), len(points)
    out = []
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    for i in range(k):
        a, b, c, d = p[(i - 1) % k], p[i], p[(i + 1) % k], p[(i + 2) % k]
        out.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(out)
