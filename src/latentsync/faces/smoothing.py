"""Smoothing points along a track without delay.

Every output is fitted to samples on both sides of it, so nothing lags (zero phase), and times are real, so a missing
frame or an uneven rate does no harm. Two local polynomials are fitted with Gaussian weights in time: a wide one, which
removes the tracker's jitter from a still head, and a narrow one, which follows a quick nod. Where they differ by much
more than jitter would explain, the head really moves and the narrow one is used; between, they are mixed smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothingConfig:
    """How strongly a track is smoothed.

    Attributes:
        reach_frames: samples used on each side at most; this is the smoothing's part of the lookahead.
        wide_s, narrow_s: standard deviations of the two Gaussian weights, in seconds.
        jitter: size of the tracker's own noise, as a share of the face's scale. 0.006 is the median second difference
            of the points on still real heads (0.0056 and 0.0058 of the brow distance on two studio clips).
    """

    reach_frames: int = 8
    wide_s: float = 0.12
    narrow_s: float = 0.03
    jitter: float = 0.006

    def __post_init__(self) -> None:
        if self.reach_frames < 0:
            raise ConfigError("smoothing.reach_frames", self.reach_frames, "choose 0 (no smoothing) or more")
        if not 0 < self.narrow_s <= self.wide_s:
            raise ConfigError("smoothing.narrow_s", self.narrow_s, "choose above 0 and at most wide_s")
        if self.jitter <= 0:
            raise ConfigError("smoothing.jitter", self.jitter, "choose above 0")


def smooth_at(times_s: np.ndarray, points: np.ndarray, at: int, scale: float, config: SmoothingConfig) -> np.ndarray:
    """The smoothed points of one sample.

    Args:
        times_s: (n,) rising times of samples of one track, in seconds.
        points: (n, k, 2) float64, frame pixels.
        at: index of the sample asked for.
        scale: size of the face in pixels (distance between the brow points), the unit of `config.jitter`.
    Returns: (k, 2) float64.
    """
    if len(times_s) == 1 or config.reach_frames == 0:
        return points[at].copy()
    first, last = max(0, at - config.reach_frames), min(len(times_s), at + config.reach_frames + 1)
    # at a track's end only one side has samples; a parabola there would follow the noise, so it becomes a line
    both = min(at - first, last - 1 - at)
    degree = min(2 if both >= 2 else 1, last - first - 1)
    t, p = times_s[first:last] - times_s[at], points[first:last]
    wide, narrow = (_fit(t, p, width, degree) for width in (config.wide_s, config.narrow_s))
    # one trust for all points, or the triangle's shape would wobble
    moved = float(np.linalg.norm(wide - narrow, axis=1).mean()) / (config.jitter * max(scale, 1e-6))
    trust = moved**2 / (1 + moved**2)
    return wide + trust * (narrow - wide)


def _fit(t: np.ndarray, points: np.ndarray, width_s: float, degree: int) -> np.ndarray:
    """Value at t = 0 of the weighted least-squares polynomial through (t, points)."""
    weights = np.exp(-0.5 * (t / width_s) ** 2) + 1e-9
    basis = (t[:, None] / width_s) ** np.arange(degree + 1)
    # normal equations with a breath of ridge on the slopes: far-off samples have next to no weight
    gram = (basis * weights[:, None]).T @ basis + np.diag([0.0] + [1e-6] * degree)
    solution = np.linalg.solve(gram, (basis * weights[:, None]).T @ points.reshape(len(t), -1))
    return solution[0].reshape(points.shape[1:])
