"""Speech for the protocols: assembled from several sentences, silent, shifted; and where it is loud."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.audio.activity import speech_activity
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.evaluation.clips import Phones
from latentsync.evaluation.watching import GRID_HZ

SAMPLES_PER_STEP = SPEECH_RATE_HZ // GRID_HZ
CLOSING = ("p", "b", "m")
"""Sounds that need closed lips."""


@dataclass(frozen=True)
class Speech:
    """Sound and what its speaker's own mouth did.

    Attributes:
        wave: (S,) float32, 16 kHz.
        opening: (G,) the speaker's own lip opening at i / 25 s; None where there is no video of it.
        phones: sounds with times, may be empty.
        pieces: (clip id, start_s, end_s) it was put together from.
        width: (G,) how wide the speaker's own mouth was, at the same times; None where that is not known.
    """

    wave: np.ndarray
    opening: np.ndarray | None
    phones: Phones = ()
    pieces: tuple[tuple[str, float, float], ...] = ()
    width: np.ndarray | None = None

    @property
    def duration_s(self) -> float:
        return len(self.wave) / SPEECH_RATE_HZ

    @property
    def digest(self) -> str:
        """A name for the audio features and for what its speaker's mouth did."""
        digest = hashlib.sha256(np.ascontiguousarray(self.wave).tobytes())
        for curve in (self.opening, self.width):
            digest.update(b"" if curve is None else np.ascontiguousarray(curve).tobytes())
        digest.update(repr(self.phones).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Donor:
    """A clip that can lend its speech: sound, own opening and width (as long) start together, on the 25 Hz grid."""

    clip_id: str
    wave: np.ndarray
    opening: np.ndarray
    phones: Phones = ()
    width: np.ndarray | None = None

    @property
    def num_steps(self) -> int:
        """Grid steps for which both sound and opening are there."""
        return min(len(self.opening), len(self.wave) // SAMPLES_PER_STEP)


def assemble(
    donors: Sequence[Donor], num_steps: int, rng: np.random.Generator, piece_steps: tuple[int, int] = (18, 45)
) -> Speech:
    """Speech of one person put together from random parts of several sentences.

    Sentences of one corpus share their rhythm (a pause, then five words of equal length), so whole ones correlate
    without any lip-sync at all. Parts of 0.7 to 1.8 s with random starts have no shared rhythm. Cuts lie on the 25 Hz
    grid, sound and mouth are cut alike, and 5 ms fades avoid clicks. The width is known where every part's is.

    Args:
        donors: clips of one speaker.
        num_steps: length wanted, in 1/25 s.
        piece_steps: least and greatest length of a part.
    Raises: ValueError: no donor holds a part.
    """
    usable = [donor for donor in donors if donor.num_steps >= piece_steps[0]]
    if not usable:
        raise ValueError("no donor is long enough to take a part from")
    waves, openings, widths, phones, pieces = [], [], [], [], []
    total = 0
    while total < num_steps:
        donor = usable[int(rng.integers(len(usable)))]
        length = int(rng.integers(piece_steps[0], min(piece_steps[1], donor.num_steps) + 1))
        start = int(rng.integers(0, donor.num_steps - length + 1))
        length = min(length, num_steps - total)
        waves.append(_faded(donor.wave[start * SAMPLES_PER_STEP : (start + length) * SAMPLES_PER_STEP]))
        openings.append(donor.opening[start : start + length])
        if donor.width is not None:
            widths.append(donor.width[start : start + length])
        phones += _cut_phones(donor.phones, start / GRID_HZ, (start + length) / GRID_HZ, total / GRID_HZ)
        pieces.append((donor.clip_id, start / GRID_HZ, (start + length) / GRID_HZ))
        total += length
    width = np.concatenate(widths) if len(widths) == len(pieces) else None
    return Speech(np.concatenate(waves), np.concatenate(openings), tuple(phones), tuple(pieces), width)


def own_speech(donor: Donor, num_steps: int) -> Speech:
    """The clip's own sound from its start."""
    steps = min(num_steps, donor.num_steps)
    phones = tuple(_cut_phones(donor.phones, 0.0, steps / GRID_HZ, 0.0))
    piece = (donor.clip_id, 0.0, steps / GRID_HZ)
    width = None if donor.width is None else donor.width[:steps]
    return Speech(donor.wave[: steps * SAMPLES_PER_STEP], donor.opening[:steps], phones, (piece,), width)


def shifted(speech: Speech, steps: int) -> Speech:
    """The same speech `steps` / 25 s later (silence first; a negative number cuts its start), length unchanged."""
    wave = _moved(speech.wave, steps * SAMPLES_PER_STEP, 0.0)
    opening = None if speech.opening is None else _moved(speech.opening, steps, np.nan)
    width = None if speech.width is None else _moved(speech.width, steps, np.nan)
    late_s = steps / GRID_HZ
    end_s = speech.duration_s - max(0.0, late_s)
    phones = tuple(_cut_phones(speech.phones, max(0.0, -late_s), end_s, max(0.0, late_s)))
    return Speech(wave, opening, phones, speech.pieces, width)


def silence(num_steps: int) -> Speech:
    """Nobody speaks."""
    return Speech(np.zeros(num_steps * SAMPLES_PER_STEP, np.float32), None)


def loudness_db(wave: np.ndarray, num_steps: int) -> np.ndarray:
    """(G,) level of each 1/25 s in dB of full scale, at least −90; past the end of the sound −90."""
    padded = np.zeros(num_steps * SAMPLES_PER_STEP)
    padded[: min(len(wave), len(padded))] = wave[: len(padded)]
    power = (padded.reshape(num_steps, SAMPLES_PER_STEP) ** 2).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 1e-9))


def silent_steps(wave: np.ndarray, num_steps: int, shortest_steps: int = 6) -> np.ndarray:
    """(G,) bool: nobody speaks here, by the pipeline's own voice activity, for at least 0.24 s."""
    activity = speech_activity([np.asarray(wave, np.float32)])
    quiet = activity.at([step / GRID_HZ for step in range(num_steps)], ramp_s=0.0) <= 0
    out = np.zeros(num_steps, dtype=bool)
    edges = np.flatnonzero(np.diff(np.r_[False, quiet, False]))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        out[start:end] = end - start >= shortest_steps
    return out


def closing_spans(phones: Phones) -> list[tuple[float, float]]:
    """Times of p, b and m; labels in ARPAbet or IPA, with or without stress digits."""
    return [(start, end) for start, end, label in phones if label.lower().rstrip("012ʰː") in CLOSING]


def _faded(wave: np.ndarray) -> np.ndarray:
    out = np.array(wave, dtype=np.float32)
    ramp = np.linspace(0, 1, min(80, len(out)), dtype=np.float32)
    out[: len(ramp)] *= ramp
    out[len(out) - len(ramp) :] *= ramp[::-1]
    return out


def _moved(values: np.ndarray, steps: int, fill: float) -> np.ndarray:
    """The values `steps` places later (a negative number: earlier), `fill` where that leaves none, length unchanged."""
    out = np.full_like(values, fill)
    if steps >= 0:
        out[steps:] = values[: len(values) - steps]
    else:
        out[:steps] = values[-steps:]
    return out


def _cut_phones(phones: Phones, start_s: float, end_s: float, to_s: float) -> list[tuple[float, float, str]]:
    """Sounds wholly inside [start_s, end_s], moved so that start_s becomes to_s and cut where that passes the end."""
    return [
        (start - start_s + to_s, end - start_s + to_s, label)
        for start, end, label in phones
        if start >= start_s and end <= end_s
    ]
