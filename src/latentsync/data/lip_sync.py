"""In sync or not, without a network: the opening of the lips against the level of the sound. Weak, and says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.data.clip import GRID_FPS
from latentsync.media.audio import SPEECH_RATE_HZ
from latentsync.metrics.lips import detrend, smooth

STEP_S = 0.01
REACH_S = 0.06
"""Standard deviation of the Gaussian window over which the level is averaged."""


@dataclass(frozen=True, slots=True)
class LipSync:
    """What lips and level say.

    Attributes:
        late_s: how much later the sound is than the picture, to a hundredth of a second.
        confidence: best correlation less the median over all lags; NaN where it cannot be said.
        at_zero: correlation at lag 0 less the median.
        curve: correlation at each lag −reach … +reach.
    """

    late_s: float
    confidence: float
    at_zero: float
    curve: tuple[float, ...]


def lip_sync(opening: np.ndarray, wave: np.ndarray, known: np.ndarray, lead_s: float, max_late_s: float) -> LipSync:
    """Correlate the opening at each frame with the level of the sound some time later, for many times.

    Args:
        opening: (F,) at 25 a second, NaN = not seen.
        wave: (S,) float32 at 16 kHz, beginning `lead_s` before the first frame.
        known: (S,) bool.
        max_late_s: lags from −this to +this are tried.
    """
    curve = detrend(smooth(opening, 0.5), 2 * (GRID_FPS // 2) + 1)
    level, there = _level(wave, known)
    lags = np.arange(-round(max_late_s / STEP_S), round(max_late_s / STEP_S) + 1)
    frames = np.arange(len(curve)) / GRID_FPS + 0.5 / GRID_FPS + lead_s
    at = np.rint(frames / STEP_S).astype(int)
    r = np.array([_correlation(curve, level, there, at + lag) for lag in lags])
    if not np.isfinite(r).all():
        return LipSync(0.0, float("nan"), float("nan"), tuple(r))
    best, median = int(np.argmax(r)), float(np.median(r))
    return LipSync(float(lags[best] * STEP_S), float(r[best] - median), float(r[len(r) // 2] - median), tuple(r))


def _level(wave: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log level every hundredth of a second, drift of a second taken away, and where it is known."""
    hop = round(STEP_S * SPEECH_RATE_HZ)
    count = len(wave) // hop
    power = (wave[: count * hop].reshape(count, hop).astype(np.float64) ** 2).mean(axis=1)
    there: np.ndarray = np.asarray(known[: count * hop].reshape(count, hop).all(axis=1))
    loud = smooth(np.where(there, power, np.nan), REACH_S / STEP_S / 2)
    floor = max(float(np.nanpercentile(loud, 95)) * 1e-4, 1e-9) if there.any() else 1e-9
    db = 10 * np.log10(np.maximum(np.nan_to_num(loud), floor))
    return detrend(np.where(there, db, np.nan), 101), there


def _correlation(curve: np.ndarray, level: np.ndarray, there: np.ndarray, at: np.ndarray) -> float:
    inside = (at >= 0) & (at < len(level)) & np.isfinite(curve)
    inside[inside] = there[at[inside]]
    if inside.sum() < GRID_FPS:
        return float("nan")
    x, y = curve[inside], level[at[inside]]
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 1e-9 else 0.0
