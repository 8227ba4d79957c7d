"""Sounds to listen to: synthetic voices with phone times, the speech of clips, and windows put together from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from latentsync import __version__
from latentsync.core.errors import LatentSyncError
from latentsync.core.rates import SAMPLES_PER_STATE, STATE_RATE_HZ
from latentsync.synth.speech.phones import PHONES, SILENCE
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.clips import AnyClip

PAD_STATES = 25
"""Silence put before and after each sound: half a second, of which a drawn part is used."""
CLASSES = tuple(sorted(PHONES))
"""Names of the phone classes; a label is an index of it."""
UNKNOWN = -1
"""Label where nobody knows the phone."""


@dataclass(frozen=True)
class Sound:
    """Speech of one person or one synthetic voice.

    Attributes:
        who: person or voice; no `who` is in both splits.
        content: hash of what the sound is made from.
        wave: gives (S,) float32 at 16 kHz.
        phones: gives (n, 3) float64 rows of class, start and end in seconds; None = not known.
    """

    who: str
    content: str
    wave: Callable[[], np.ndarray] = field(compare=False, repr=False)
    phones: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)

    def at_speed(self, speed: float) -> np.ndarray:
        """The padded wave played `speed` times as fast (pitch and all), cut to whole states: (320·T,) float32."""
        wave = np.asarray(self.wave(), np.float32)
        if speed != 1:
            wave = np.interp(np.arange(0, len(wave) - 1, speed), np.arange(len(wave)), wave).astype(np.float32)
        num_states = 2 * PAD_STATES + len(wave) // SAMPLES_PER_STATE
        out = np.zeros(num_states * SAMPLES_PER_STATE, np.float32)
        before = PAD_STATES * SAMPLES_PER_STATE
        wave = wave[: len(out) - before]
        out[before : before + len(wave)] = wave
        return out

    def labels(self, speed: float, num_states: int) -> np.ndarray:
        """Phone class at the time of each state of `at_speed`: (T,) int64, silence between phones."""
        if self.phones is None:
            return np.full(num_states, UNKNOWN, np.int64)
        times = (np.arange(num_states) - PAD_STATES) / STATE_RATE_HZ * speed
        spans = self.phones()
        out = np.full(num_states, CLASSES.index(SILENCE), np.int64)
        for kind, start, end in spans:
            out[(times >= start) & (times < end)] = int(kind)
        return out


def sounds_of(clips: Sequence[AnyClip], cache: ArrayCache) -> list[Sound]:
    """The speech of clips."""
    return [Sound(clip.person, cache.content_of(clip), partial(_wave_of, clip)) for clip in clips]


def _wave_of(clip: AnyClip) -> np.ndarray:
    return np.array(clip.wave)


def synthetic_voices(
    voices: int, held_out: int, seconds: float, seed: int, engines: tuple[str, ...] | None, cache: ArrayCache
) -> tuple[list[Sound], list[Sound]]:
    """Voices to learn from and unseen ones, spoken by the engines that are installed and kept in the cache.

    The last `held_out` of the numbers are unseen; nothing with a voice's name among theirs is learnt from.

    Raises: LatentSyncError: no engine is installed, or no voice is left to learn from.
    """
    from latentsync.synth.speech.speaker import available_engines

    engines = available_engines() if engines is None else engines
    if not engines:
        raise LatentSyncError("task.speech: no speech engine. Run `pip install 'latentsync[synth]'`, or set it to null")
    made = [_voice(number, seconds, seed, engines, cache) for number in range(voices)]
    unseen = made[len(made) - held_out :]
    names = {sound.who for sound in unseen}
    known = [sound for sound in made if sound.who not in names]
    if not known:
        raise LatentSyncError(f"task.speech: all of {voices} voices have the unseen ones' names. Raise voices")
    return known, unseen


def _voice(number: int, seconds: float, seed: int, engines: tuple[str, ...], cache: ArrayCache) -> Sound:
    content = hashlib.sha256(f"{__version__} {number} {seconds} {seed} {engines}".encode()).hexdigest()
    take = _Take(number, seconds, seed, engines, content, cache)
    return Sound(take("who").tobytes().decode(), content, partial(take, "wave"), partial(take, "phones"))


@dataclass(frozen=True)
class _Take:
    """Gives the arrays of one voice, spoken once."""

    number: int
    seconds: float
    seed: int
    engines: tuple[str, ...]
    content: str
    cache: ArrayCache

    def __call__(self, name: str) -> np.ndarray:
        place = self.cache.place(f"speech-{name}", self.content)
        if not place.is_file():
            made = _spoken(np.random.default_rng([self.seed, self.number]), self.seconds, self.engines)
            for each, values in made.items():
                self.cache.get(f"speech-{each}", (self.content,), lambda values=values: values)  # type: ignore[misc]
        return np.load(place, allow_pickle=False)


def _spoken(rng: np.random.Generator, seconds: float, engines: tuple[str, ...]) -> dict[str, np.ndarray]:
    from latentsync.synth.speech.speaker import speak

    said = speak(rng, seconds, bool(rng.random() < 0.5), engines)
    rows = [(CLASSES.index(phone.name), phone.start_s, phone.end_s) for phone in said.phones]
    return {
        "wave": np.asarray(said.audio, np.float32),
        "phones": np.array(rows, np.float64).reshape(-1, 3),
        "who": np.frombuffer(voice_name(said.voice).encode(), np.uint8),
    }


def voice_name(voice: str) -> str:
    """Who speaks, without size and accent: "espeak:gmw/en+f2:x0.97" → "espeak+f2", "flite:slt:x1.1" → "flite:slt"."""
    plain = voice.split(":x")[0]
    return f"{plain.split(':')[0]}+{plain.split('+')[1]}" if "+" in plain else plain


@dataclass(frozen=True)
class Piece:
    """States `first` … `last` − 1 of a sound at a speed, at place `at` of a window."""

    sound: Sound
    speed: float
    first: int
    last: int
    at: int


def fill_window(
    draw: Callable[[np.random.Generator], Sound],
    speed_of: Callable[[Sound, np.random.Generator], float],
    length_of: Callable[[Sound, float], int],
    positions: int,
    rng: np.random.Generator,
) -> list[Piece]:
    """Sounds one after another until a window of `positions` states is full; the first begins anywhere in itself.

    So nothing that is said has a usual place in the window. Between two sounds lie 0 to 1 s of silence.
    """
    pieces: list[Piece] = []
    at = 0
    while at < positions:
        sound = draw(rng)
        speed = speed_of(sound, rng)
        length = length_of(sound, speed)
        first = int(rng.integers(0, length - PAD_STATES if at == 0 else PAD_STATES + 1))
        last = min(length - int(rng.integers(0, PAD_STATES)), first + positions - at)
        if last > first:
            pieces.append(Piece(sound, speed, first, last, at))
            at += last - first
    return pieces
