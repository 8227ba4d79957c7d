"""Cross-drive sync: drive person A's video with person B's speech and compare the mouth opening with B's own video.

No judge network is needed, so a generator trained against one cannot please it. Two numbers belong together:
sync (the new mouth follows the new speech) and leakage (the new mouth still follows A's old one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.metrics.lips import lagged_correlation

MAX_LAG = 2
"""Frames by which the best lag may differ from 0: 80 ms, about what viewers tolerate."""
MIN_SHIFT = 12
"""Smallest circular shift for chance values, frames: half a second at 25 fps, longer than a syllable."""


@dataclass(frozen=True, slots=True)
class CrossDrive:
    """Scores of one driven video.

    Attributes:
        sync: correlation of generated opening and speaker's own, at the best lag.
        lag_frames: that lag; positive = the generated mouth is late.
        sync_chance: what shifted speech reaches by luck.
        leakage: correlation with the driven video's own old mouth, minus its chance value.
        leakage_r, leakage_chance: the two parts of it.
        num_frames: frames compared.
    """

    sync: float
    lag_frames: int
    sync_chance: float
    leakage: float
    leakage_r: float
    leakage_chance: float
    num_frames: int


def chance_correlation(
    a: np.ndarray, b: np.ndarray, max_lag: int = MAX_LAG, min_shift: int = MIN_SHIFT, num_shifts: int = 25
) -> float:
    """Mean best-lag correlation of `a` with circularly shifted `b`: what the same two curves reach without a relation.

    The best of several lags is above zero by luck alone, so a correlation is to be read against this value. Shifts are
    spread evenly between min_shift and length − min_shift (no randomness). NaN where that leaves no shift.
    """
    length = min(len(a), len(b))
    if length <= 2 * min_shift:
        return float("nan")
    count = min(num_shifts, length - 2 * min_shift + 1)
    shifts = np.unique(np.linspace(min_shift, length - min_shift, count).round().astype(int))
    rs = [lagged_correlation(a[:length], np.roll(b[:length], shift), max_lag).best_r for shift in shifts]
    known = [r for r in rs if np.isfinite(r)]
    return float(np.mean(known)) if known else float("nan")


def pairing_chance(curves: Sequence[np.ndarray], others: Sequence[np.ndarray], max_lag: int = MAX_LAG) -> float:
    """Mean best-lag correlation over all wrong pairings curves[i], others[j], i ≠ j: chance from shuffled clips.

    Unlike circular shifts it keeps what all clips share (a pause at the start, the rhythm of one grammar).
    """
    rs = [
        lagged_correlation(a, b, max_lag).best_r for i, a in enumerate(curves) for j, b in enumerate(others) if i != j
    ]
    known = [r for r in rs if np.isfinite(r)]
    return float(np.mean(known)) if known else float("nan")


def cross_drive(
    generated: np.ndarray, speaker: np.ndarray, old: np.ndarray, max_lag: int = MAX_LAG, old_chance: float | None = None
) -> CrossDrive:
    """Score one driven video.

    Args:
        generated: (F,) lip opening of A's video driven by B's speech.
        speaker: (F,) lip opening of B's own video, same rate and start as the speech.
        old: (F,) lip opening of A's own video at the frames that were driven.
        max_lag: frames searched on either side.
        old_chance: chance value of the leakage, e.g. of `pairing_chance`; None = from circular shifts of `old`, at
            least 0 (shifting a single sentence between two pauses puts speech on pauses, which is no luck).
    """
    sync = lagged_correlation(generated, speaker, max_lag)
    leak = lagged_correlation(generated, old, max_lag)
    chance = old_chance
    if chance is None:
        chance = float(np.maximum(chance_correlation(generated, old, max_lag), 0.0))
    return CrossDrive(
        sync=sync.best_r,
        lag_frames=sync.best_lag,
        sync_chance=chance_correlation(generated, speaker, max_lag),
        leakage=leak.best_r - chance,
        leakage_r=leak.best_r,
        leakage_chance=chance,
        num_frames=min(len(generated), len(speaker)),
    )


Curves = tuple[np.ndarray, np.ndarray, np.ndarray]


def cross_drive_set(clips: Sequence[Curves], max_lag: int = MAX_LAG) -> list[CrossDrive]:
    """Score several driven videos, (generated, speaker, old) each, with chance from their shuffled pairings.

    One clip alone takes chance from circular shifts.
    """
    if len(clips) < 2:
        return [cross_drive(*clip, max_lag=max_lag) for clip in clips]
    chance = pairing_chance([clip[0] for clip in clips], [clip[2] for clip in clips], max_lag)
    return [cross_drive(*clip, max_lag=max_lag, old_chance=chance) for clip in clips]
