"""The sound of a film with other sound laid over parts of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from latentsync.core.errors import EmptyAudioError
from latentsync.core.values import Float
from latentsync.media.audio import SoundDecoder
from latentsync.media.information import AudioInfo, probe
from latentsync.media.loudness import Loudness, LoudnessMeter, limited

STEP_SAMPLES = 8192
DUCK_DOWN_S, DUCK_UP_S = 0.25, 0.6
"""The way down ends where a word begins; the way up is slower, so that nothing pumps."""
FADE_S = Fraction(1, 50)
"""On both ends of an insert, inside its range, so that nothing clicks; chosen by lip predictor."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Sound laid over a part of a film.

    Attributes:
        path: any file with sound.
        at_s, duration_s: its range in the written video. Sound that ends earlier is followed by silence.
        start_s: the moment of its own sound that meets `at_s`.
        replaces: the film's own sound is silent in the range; else the two are added.
        track: of the file's sound tracks, see `tracks.audio_stream`.
        gain: its samples are multiplied with.
        is_bed: music or noise under speech, which `MixPlan.duck_db` lowers.
    """

    path: Path
    at_s: Fraction
    duration_s: Fraction
    start_s: Fraction = Fraction(0)
    replaces: bool = True
    track: str | None = None
    gain: float = 1.0
    is_bed: bool = False


@dataclass(frozen=True, slots=True)
class MixPlan:
    """Which sound goes into a written video: always encoded, in the film's own rate and channels.

    Levels stay as they are but for gains and ducking that are asked for; true peaks are held below −1 dBTP.

    Attributes:
        base: the film; None, or without sound = silence under the inserts, which then decide rate and channels.
        inserts: in any order; they may overlap.
        start_s: the moment of the base (from its container's origin) that meets time 0 of the video.
        track: of the base's sound tracks, see `tracks.audio_stream`.
        spoken: spans of the written video in which somebody speaks, seconds, rising. duck_db: by so much the base and
            beds are lowered there.
        written: is given what was written, for its loudness.
    """

    base: Path | None
    inserts: tuple[Insert, ...]
    start_s: Fraction = Fraction(0)
    track: str | None = None
    spoken: tuple[tuple[float, float], ...] = ()
    duck_db: float = 0.0
    written: WrittenLoudness | None = None

    @property
    def mode(self) -> Literal["encode"]:
        return "encode"

    @property
    def duration_s(self) -> None:
        """Up to the end of the last frame."""
        return None

    def info(self) -> AudioInfo:
        """What to follow: the base's sound, else the insert's with most channels.

        Raises: EmptyAudioError: a file without sound. MediaError: not readable.
        """
        own = None if self.base is None else probe(self.base, self.track).audio
        found = [_audio_of(insert.path, insert.track) for insert in self.inserts]
        return own or max(found, key=lambda info: (info.num_channels, info.rate_hz))

    def samples(self, rate_hz: int, layout: str) -> Generator[Float, None, None]:
        """(channels, STEP_SAMPLES) blocks from time 0, without an end: silence follows the last sound."""
        with closing(self._sums(rate_hz, layout)) as sums:
            for block in limited(sums, rate_hz):
                if self.written is not None:
                    self.written.push(block, rate_hz, layout)
                yield block

    def _sums(self, rate_hz: int, layout: str) -> Generator[Float, None, None]:
        base = None if self.base is None or probe(self.base).audio is None else self.base
        with closing(_Tape(base, rate_hz, layout, self.start_s, self.track)) as film:
            waiting = sorted(self.inserts, key=lambda insert: insert.at_s, reverse=True)
            playing: list[tuple[Insert, _Tape]] = []
            muted = _joined([insert for insert in self.inserts if insert.replaces])
            first = 0
            try:
                while True:
                    last = first + STEP_SAMPLES
                    out = film.read(STEP_SAMPLES)
                    ducked = duck_gain(self.spoken, self.duck_db, first, last, rate_hz)
                    out *= ducked
                    for span in muted:
                        out *= 1 - _envelope(span, first, last, rate_hz)
                    while waiting and waiting[-1].at_s * rate_hz < last:
                        insert = waiting.pop()
                        playing.append((insert, _Tape(insert.path, rate_hz, layout, insert.start_s, insert.track)))
                    for insert, tape in playing:
                        skip = max(0, round(insert.at_s * rate_hz) - first)
                        span = (insert.at_s, insert.at_s + insert.duration_s)
                        gain = _envelope(span, first + skip, last, rate_hz) * np.float32(insert.gain)
                        gain *= ducked[skip:] if insert.is_bed else np.float32(1)
                        out[:, skip:] += tape.read(STEP_SAMPLES - skip) * gain
                    for pair in [p for p in playing if (p[0].at_s + p[0].duration_s) * rate_hz <= last]:
                        playing.remove(pair)
                        pair[1].close()
                    yield out
                    first = last
            finally:
                for _, tape in playing:
                    tape.close()


class WrittenLoudness:
    """Measures what a mix gives."""

    def __init__(self) -> None:
        self._meter: LoudnessMeter | None = None

    def push(self, block: Float, rate_hz: int, layout: str) -> None:
        """(channels, n) float32."""
        self._meter = self._meter or LoudnessMeter(rate_hz, layout)
        self._meter.push(block)

    def loudness(self) -> Loudness:
        """Of all that was written so far."""
        return Loudness(None, None) if self._meter is None else self._meter.loudness()


def duck_gain(spans: Sequence[tuple[float, float]], duck_db: float, first: int, last: int, rate_hz: int) -> Float:
    """(last − first,) gain: −`duck_db` inside the spans, 0 dB outside, in straight lines of decibels on the way.

    Pauses shorter than both ways together are not risen into.
    """
    near = [
        (start, end) for start, end in spans
        if start - DUCK_DOWN_S < last / rate_hz and end + DUCK_UP_S > first / rate_hz
    ]  # fmt: skip
    if not near or not duck_db:
        return np.ones(last - first, np.float32)
    times = np.arange(first, last) / rate_hz
    share = np.zeros(last - first)
    for start, end in near:
        down, up = (times - start + DUCK_DOWN_S) / DUCK_DOWN_S, (end + DUCK_UP_S - times) / DUCK_UP_S
        share = np.maximum(share, np.clip(np.minimum(down, up), 0, 1))
    return (10 ** (-duck_db / 20 * share)).astype(np.float32)


class _Tape:
    """Sound read on by exact numbers of samples; silence where there is no file, and after its end."""

    def __init__(self, path: Path | None, rate_hz: int, layout: str, start_s: Fraction, track: str | None) -> None:
        self._channels = len(av.AudioLayout(layout).channels)
        nothing: Iterator[Float] = iter(())
        if path is not None and layout == "stereo" and _audio_of(path, track).num_channels == 1:
            layout = "mono"  # goes to both sides as it is; libswresample would take 3 dB off
        self._pieces = nothing if path is None else SoundDecoder(path, rate_hz, layout, start_s, track=track).samples()
        self._rest = np.zeros((self._channels, 0), np.float32)

    def read(self, num_samples: int) -> Float:
        """(channels, num_samples), to be written to."""
        out = np.zeros((self._channels, num_samples), np.float32)
        done = 0
        while done < num_samples:
            if not self._rest.shape[1]:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = piece
            taken = self._rest[:, : num_samples - done]
            out[:, done : done + taken.shape[1]] = taken
            self._rest = self._rest[:, taken.shape[1] :]
            done += taken.shape[1]
        return out

    def close(self) -> None:
        if isinstance(self._pieces, Generator):
            self._pieces.close()


def _audio_of(path: Path, track: str | None) -> AudioInfo:
    info = probe(path, track).audio
    if info is None:
        raise EmptyAudioError(f"{path}: no sound in it. Pass a file with speech.")
    return info


def _joined(inserts: Sequence[Insert]) -> list[tuple[Fraction, Fraction]]:
    """The ranges of some inserts, those that touch put together, so that nothing is heard between them."""
    out: list[tuple[Fraction, Fraction]] = []
    for start, end in sorted((insert.at_s, insert.at_s + insert.duration_s) for insert in inserts):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _envelope(span: tuple[Fraction, Fraction], first: int, last: int, rate_hz: int) -> Float:
    """(last − first,) 1 inside a span, 0 outside, with a straight way up and down inside its ends."""
    start, end = round(span[0] * rate_hz), round(span[1] * rate_hz)
    if end <= first or start >= last:
        return np.zeros(last - first, np.float32)
    ramp = max(1, min(round(FADE_S * rate_hz), (end - start) // 2))
    places = np.arange(first, last)
    return np.clip(np.minimum(places - start, end - places) / ramp, 0, 1).astype(np.float32)
