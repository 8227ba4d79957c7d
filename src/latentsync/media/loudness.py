"""Loudness and true peaks, measured as broadcasters do (ITU-R BS.1770, EBU R 128), and a limiter for the latter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import BlockingIOError, EOFError

from latentsync.core.values import Float
from latentsync.media.audio import SoundDecoder, packed_frame, rebuffer
from latentsync.media.information import probe

SILENT_LUFS = -69.0
"""FFmpeg's meter says −70 where everything lies below the gate."""

CEILING_DBTP = -1.5
"""Half a decibel below what EBU R 128 allows (−1 dBTP), for what AAC and Opus add."""

_LOOK_S = 0.005
_NUM_PHASES, _HALF_TAPS = 4, 12
"""Fourfold oversampling, 24 coefficients each: a little more than BS.1770-5, annex 2."""

_METER_RATE_HZ = 48_000


@dataclass(frozen=True, slots=True)
class Loudness:
    """Of a sound. `integrated_lufs`: None = silence. `true_peak_dbtp`: None = nothing but zeros."""

    integrated_lufs: float | None
    true_peak_dbtp: float | None


class LoudnessMeter:
    """FFmpeg's `ebur128` fed with blocks.

    Args: rate_hz, layout: of what comes, e.g. 48000 and "stereo".
    """

    def __init__(self, rate_hz: int, layout: str) -> None:
        self._rate_hz, self._layout = rate_hz, layout
        self._graph: Any = av.filter.Graph()
        source = self._graph.add_abuffer(
            sample_rate=rate_hz, format="flt", layout=layout, time_base=Fraction(1, rate_hz)
        )
        meter = self._graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
        sink = self._graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        self._graph.configure()
        self._source: Any = source
        self._num_samples = 0
        self._given: dict[str, str] = {}

    def push(self, block: Float) -> None:
        """(channels, n) float32."""
        frame = packed_frame(block, self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._num_samples, Fraction(1, self._rate_hz)
        self._num_samples += block.shape[1]
        self._graph.push(frame)
        self._pull()

    def loudness(self) -> Loudness:
        """Of all that was pushed; may be asked for at any time. Less than 0.4 s has none."""
        given_lufs = float(self._given.get("lavfi.r128.I", SILENT_LUFS - 1))
        peak = float(self._given.get("lavfi.r128.true_peak", 0))
        return Loudness(
            given_lufs if given_lufs > SILENT_LUFS else None, 20 * float(np.log10(peak)) if peak > 0 else None
        )

    def _pull(self) -> None:
        while True:
            try:
                given = self._graph.pull().metadata
            except (BlockingIOError, EOFError):
                return
            self._given = given or self._given


def measure_loudness(
    path: Path,
    track: str | None = None,
    start_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
    spans: Sequence[tuple[float, float]] | None = None,
) -> Loudness:
    """The loudness of a file's sound, in its own channels.

    Args:
        track: see `tracks.audio_stream`. start_s, end_s: the part to measure.
        spans: seconds after `start_s` that count, rising; None = all.
    Raises: MediaError, EmptyAudioError: it cannot be read, or there is none.
    """
    info = probe(path, track).audio
    layout = "stereo" if info is None else info.layout
    meter = LoudnessMeter(_METER_RATE_HZ, layout)
    done = 0
    waiting = None if spans is None else [(round(a * _METER_RATE_HZ), round(b * _METER_RATE_HZ)) for a, b in spans]
    pieces = SoundDecoder(path, _METER_RATE_HZ, layout, start_s, end_s, track).samples()
    for block in rebuffer(pieces, _METER_RATE_HZ // 10):
        last = done + block.shape[1]
        for first, end in [(done, last)] if waiting is None else waiting:
            part = block[:, max(first - done, 0) : max(end - done, 0)]
            if part.shape[1]:
                meter.push(part)
        if waiting is not None:
            waiting = [span for span in waiting if span[1] > last]
        done = last
    return meter.loudness()


def limited(blocks: Iterable[Float], rate_hz: int, ceiling_dbtp: float = CEILING_DBTP) -> Iterator[Float]:
    """Blocks of sound whose true peaks are held below a ceiling; where they are already, samples stay as they are.

    The gain falls and rises within 10 ms around a peak and is the same for all channels.

    Args: blocks: (channels, n) float32, all of one length of at least 20 ms but the last.
    Yields: as many, of the same lengths; two are read ahead.
    """
    ceiling = 10 ** (ceiling_dbtp / 20)
    half = max(1, round(_LOOK_S * rate_hz))
    source = iter(blocks)
    first = next(source, None)
    if first is None:
        return
    nothing = np.zeros_like(first)
    before, now = nothing, first
    gain_before, gain_now = _ones(nothing), None
    for after in chain(source, [nothing, nothing]):
        found = _needed_gain(before, now, after, ceiling)
        if gain_now is not None:
            yield _held(before, gain_before, gain_now, found, half)
            gain_before = gain_now
        gain_now = found
        before, now = now, after


def _held(block: Float, before: Float, own: Float, after: Float, half: int) -> Float:
    """A block with the gain that it needs, smooth: the least within `half` samples, then the mean within as many."""
    if min(before.min(), own.min(), after.min()) >= 1:
        return block
    needed = np.concatenate([before[-2 * half :], own, after[: 2 * half]])
    padded = np.pad(needed, (max(0, 2 * half - len(before)), max(0, 2 * half - len(after))), constant_values=1)
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).min(axis=-1)
    total = np.cumsum(np.concatenate([[0.0], least]))
    gain = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    return np.asarray(block * gain.astype(np.float32), np.float32)


def _needed_gain(before: Float, now: Float, after: Float, ceiling: float) -> Float:
    """(n,) what each sample of `now` and what lies between it and the next one must be multiplied with at most."""
    if not now.shape[1] or np.abs(now).max(initial=0) < ceiling / 3:
        return _ones(now)
    edge = _HALF_TAPS
    joined = np.concatenate([before[:, -edge:], now, after[:, :edge]], axis=1)
    left = min(edge, before.shape[1])
    peaks = np.abs(joined).max(axis=0)
    for taps in _PHASES:
        between = np.stack([np.convolve(channel, taps, mode="same") for channel in joined])
        peaks = np.maximum(peaks, np.abs(between).max(axis=0))
    peaks = peaks[left : left + now.shape[1]]
    return np.minimum(1, ceiling / np.maximum(peaks, 1e-9)).astype(np.float32)


def _ones(block: Float) -> Float:
    return np.ones(block.shape[1], np.float32)


def _phases() -> list[Float]:
    """Windowed sinc filters that give the values a quarter, a half and three quarters of a sample later."""
    places = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    out = []
    for phase in range(1, _NUM_PHASES):
        at = places + phase / _NUM_PHASES
        taps = np.sinc(at) * np.kaiser(2 * _HALF_TAPS + 1, 5)
        out.append((taps / taps.sum()).astype(np.float32))
    return out


_PHASES = _phases()
