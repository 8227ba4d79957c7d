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

STEP_SAMPLES = 8192
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
    """

    path: Path
    at_s: Fraction
    duration_s: Fraction
    start_s: Fraction = Fraction(0)
    replaces: bool = True
    track: str | None = None


@dataclass(frozen=True, slots=True)
class MixPlan:
    """Which sound goes into a written video: always encoded, in the film's own rate and channels.

    Levels stay as they are; where sums pass full scale they are limited.

    Attributes:
        base: the film; None, or without sound = silence under the inserts, which then decide rate and channels.
        inserts: in any order; they may overlap.
        start_s: the moment of the base (from its container's origin) that meets time 0 of the video.
        track: of the base's sound tracks, see `tracks.audio_stream`.
    """

    base: Path | None
    inserts: tuple[Insert, ...]
    start_s: Fraction = Fraction(0)
    track: str | None = None

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
                    for span in muted:
                        out *= 1 - _envelope(span, first, last, rate_hz)
                    while waiting and waiting[-1].at_s * rate_hz < last:
                        insert = waiting.pop()
                        playing.append((insert, _Tape(insert.path, rate_hz, layout, insert.start_s, insert.track)))
                    for insert, tape in playing:
                        skip = max(0, round(insert.at_s * rate_hz) - first)
                        span = (insert.at_s, insert.at_s + insert.duration_s)
                        out[:, skip:] += tape.read(STEP_SAMPLES - skip) * _envelope(span, first + skip, last, rate_hz)
                    for pair in [p for p in playing if (p[0].at_s + p[0].duration_s) * rate_hz <= last]:
                        playing.remove(pair)
                        pair[1].close()
                    yield np.clip(out, -1, 1)
                    first = last
            finally:
                for _, tape in playing:
                    tape.close()


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
