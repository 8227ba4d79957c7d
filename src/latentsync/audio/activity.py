"""Where somebody speaks: voice activity from level over an adaptive noise floor, with hysteresis. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latentsync.audio.mel import gather_blocks, slaney_filterbank
from latentsync.audio.windows import Seconds
from latentsync.core.rates import SPEECH_RATE_HZ

Float = NDArray[np.float32]

STEP_S = 0.01
_HOP, _FFT = 160, 400
_NUM_BANDS, _LOW_HZ, _HIGH_HZ = 24, 100.0, 7000.0
_SILENT_DB = -75.0
"""Level per band that counts as silence whatever the floor is: below the hiss of a quiet recording."""
_LOUD_SHARE, _LOUD_TO_SILENT_DB, _LEAST_SILENT_DB = 0.98, 50.0, -110.0
"""Where the loudest band of the loudest fiftieth of the sound lies less than the second above that, silence lies so far
below it, down to the third: speech recorded 40 dB too low is speech. Of 16 filmed people it is at −11 to −27 dB."""
_FLOOR_REACH_S = 8.0
_FLOOR_SHARE = 0.1
_VOICED_HZ = (100.0, 4000.0)


@dataclass(frozen=True, kw_only=True)
class ActivityConfig:
    """Thresholds, chosen by eye on the spoken seconds of 72 real clips (`benchmarks/audio.py --clips manifest.csv`).

    Attributes:
        open_db: mean level over the floor that starts a span, together with `max_flatness`.
        hold_db: level over the floor that keeps it going, forwards and backwards.
        max_flatness: spectral flatness (1 = white) that voiced sound stays below; a span needs `min_voiced_s` of it.
        min_voiced_s: sound in a span that passes both opening tests.
        bridge_s: shorter silences inside speech are spoken over.
        pad_s: added on both sides: lips move before the sound starts and after it ends.
    """

    open_db: float = 8.0
    hold_db: float = 4.0
    max_flatness: float = 0.25
    min_voiced_s: float = 0.05
    bridge_s: float = 0.3
    pad_s: float = 0.08


@dataclass(frozen=True)
class SpeechActivity:
    """Spans (start_s, end_s) in which somebody speaks, rising and apart, in seconds from the start of the sound."""

    spans: tuple[tuple[float, float], ...]

    @property
    def speech_s(self) -> float:
        """Seconds of speech in all."""
        return sum(end - start for start, end in self.spans)

    def at(self, times_s: Iterable[Seconds], ramp_s: float = 0.16) -> Float:
        """How much of the speaking mouth to show at each time: (F,) float32, 1 in speech, 0 in silence.

        Args:
            times_s: any order.
            ramp_s: length of the way from 0 to 1 outside each end of a span (a raised cosine, so it starts and ends
                gently); 0.16 s is four frames at 25 fps.
        """
        times = np.array([float(time_s) for time_s in times_s], dtype=np.float64)
        away = np.full(times.shape, np.inf)
        if self.spans and times.size:
            starts, ends = np.array(self.spans, dtype=np.float64).T
            after = np.searchsorted(starts, times, side="right")  # spans that have started
            before = np.clip(after - 1, 0, None)
            away = np.where(after > 0, np.maximum(times - ends[before], 0), np.inf)
            following = np.clip(after, None, len(starts) - 1)
            away = np.minimum(away, np.where(after < len(starts), starts[following] - times, np.inf))
        share = np.clip(1 - away / ramp_s, 0, 1) if ramp_s > 0 else (away <= 0).astype(np.float64)
        return (0.5 - 0.5 * np.cos(np.pi * share)).astype(np.float32)


def speech_activity(blocks: Iterable[Float], config: ActivityConfig | None = None) -> SpeechActivity:
    """Find the spans in which somebody speaks.

    Args:
        blocks: mono sound at 16 kHz, (n,) float32 in [−1, 1] one after the other (a wave in memory: `[wave]`). 18 MB of
            levels are held for an hour.
    Returns: no spans for sound without speech, or shorter than 25 ms.
    Method: levels in 24 bands every 10 ms; the floor of a band is its 10th percentile within 8 s on either side, so
        steady hum, tones and noise are floor. The mean over the bands of the level over the floor opens and holds a
        span; only sound with a spectrum far from flat opens it. The numbers: see `ActivityConfig`.
    """
    config = config or ActivityConfig()
    levels, flatness = _features(blocks)
    if not len(levels):
        return SpeechActivity(())
    above = _above_floor(levels)
    opening = (above > config.open_db) & (flatness < config.max_flatness)
    spans = _bridge(_runs(above > config.hold_db), round(config.bridge_s / STEP_S))
    least = round(config.min_voiced_s / STEP_S)
    kept = [span for span in spans if np.count_nonzero(opening[span[0] : span[1]]) >= least]
    pad, end_s = config.pad_s, len(levels) * STEP_S
    padded = [(max(0.0, a * STEP_S - pad), min(end_s, b * STEP_S + pad)) for a, b in kept]
    joined: list[tuple[float, float]] = []
    for start, end in padded:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return SpeechActivity(tuple(joined))


@lru_cache(maxsize=1)
def _bank() -> Float:
    bank = slaney_filterbank(_NUM_BANDS, _FFT, _LOW_HZ, _HIGH_HZ)
    return bank / bank.sum(axis=1, keepdims=True)


def _features(blocks: Iterable[Float]) -> tuple[NDArray[np.float16], Float]:
    """Band levels (T, 24) in dB of full scale and spectral flatness (T,), every 10 ms, step t centred on t + 5 ms."""
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    bins = np.arange(_FFT // 2 + 1) * SPEECH_RATE_HZ / _FFT
    voiced = (bins >= _VOICED_HZ[0]) & (bins <= _VOICED_HZ[1])
    levels: list[NDArray[np.float16]] = []
    flatness: list[Float] = []
    lead = (_FFT - _HOP) // 2
    rest = np.zeros(lead, np.float32)

    def push(sound: Float) -> Float:
        num_steps = (len(sound) - _FFT) // _HOP + 1
        if num_steps <= 0:
            return sound
        spans = np.lib.stride_tricks.sliding_window_view(sound, _FFT)[::_HOP][:num_steps]
        power = np.square(np.abs(np.fft.rfft(spans * window))).astype(np.float32) / (_FFT * _FFT / 16)
        levels.append((10 * np.log10(power @ _bank().T + 1e-12)).astype(np.float16))
        inner = power[:, voiced] + 1e-12
        flatness.append(np.exp(np.log(inner).mean(axis=1)) / inner.mean(axis=1))
        return sound[num_steps * _HOP :]

    for block in gather_blocks(blocks, 4 * SPEECH_RATE_HZ):
        rest = push(np.concatenate([rest, block]))
    push(np.concatenate([rest, np.zeros(lead, np.float32)]))
    if not levels:
        return np.zeros((0, _NUM_BANDS), np.float16), np.zeros(0, np.float32)
    return np.concatenate(levels), np.concatenate(flatness).astype(np.float32)


def _above_floor(levels: NDArray[np.float16]) -> Float:
    """(T,) mean over the bands of the level over the floor, in dB, each band limited to 0 … 30, smoothed over 50 ms."""
    num_steps, second = len(levels), round(1 / STEP_S)
    reach = round(_FLOOR_REACH_S / STEP_S)
    centres = np.arange(second // 2, max(num_steps, second // 2 + 1), second)
    floors = np.stack(
        [np.quantile(levels[max(0, c - reach) : c + reach].astype(np.float32), _FLOOR_SHARE, axis=0) for c in centres]
    )
    loud = float(np.quantile(levels.max(axis=1).astype(np.float32), _LOUD_SHARE))
    silent = min(_SILENT_DB, max(_LEAST_SILENT_DB, loud - _LOUD_TO_SILENT_DB))
    floors = np.maximum(floors, silent)
    above = np.empty(num_steps, np.float32)
    for c, floor in zip(centres, floors, strict=True):
        part = slice(c - second // 2, num_steps if c == centres[-1] else c - second // 2 + second)
        above[part] = np.clip(levels[part].astype(np.float32) - floor, 0, 30).mean(axis=1)
    return np.convolve(np.pad(above, 2, mode="edge"), np.full(5, 0.2, np.float32), mode="valid")


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _bridge(runs: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
