"""A voice for one clip: chooses an engine, speaks sentences until the clip is full, and disturbs the sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.core.errors import MediaError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float
from latentsync.synth.speech import augment
from latentsync.synth.speech.engines import Utterance, espeak, flite, flite_program, has_espeak
from latentsync.synth.speech.phones import Phone
from latentsync.synth.speech.piper import has_piper, piper, piper_voices
from latentsync.synth.speech.recordings import speakers, speech_of
from latentsync.synth.speech.sentences import FOREIGN, foreign_sentence, sentence

FLITE_VOICES = {True: ("awb", "rms", "kal16"), False: ("slt",)}
ENGLISH = (
    "gmw/en-US",
    "gmw/en",
    "gmw/en-GB-scotland",
    "gmw/en-GB-x-rp",
    "gmw/en-029",
    "gmw/en-US-nyc",
    "gmw/en-GB-x-gbclan",
)
VARIANTS = {
    True: (
        "m1",
        "m3",
        "m7",
        "m8",
        "max",
        "adam",
        "david",
        "john",
        "paul",
        "klatt2",
        "klatt4",
        "Andy",
        "Lee",
        "Michael",
    ),
    False: ("f1", "f2", "f4", "f5", "Annie", "belinda", "linda", "steph", "shelby", "aunty", "Alicia", "Andrea"),
}


@dataclass(frozen=True, eq=False)
class Speech:
    """The sound of one clip.

    Attributes:
        audio: (S,) float32 in (−1, 1), 16 kHz, exactly seconds · 16000 samples.
        phones: everything that starts before the end, times exact to the engine's own resolution.
        voice, text: for the record.
    """

    audio: Float
    phones: tuple[Phone, ...]
    voice: str
    text: str


WEIGHTS = {"flite": 2.0, "espeak": 1.5, "piper": 3.0, "recordings": 4.0}
"""How often an engine is drawn."""


def available_engines(recordings: Path | None = None) -> tuple[str, ...]:
    """Engines found on this machine, in a fixed order; "recordings" if there is a folder of them."""
    there = {
        "flite": flite_program() is not None,
        "espeak": has_espeak(),
        "piper": has_piper(),
        "recordings": recordings is not None,
    }
    return tuple(n for n, found in there.items() if found)


def _recorded(rng: np.random.Generator, folder: Path) -> Callable[[], Utterance]:
    """A function that gives one more recording of a speaker."""
    groups = speakers(folder)
    group = groups[int(rng.integers(len(groups)))]

    def say() -> Utterance:
        for k in rng.permutation(len(group)):
            said = speech_of(group[int(k)])
            if said is not None:
                return said
        raise MediaError(f"{group[0].path.parent}: no recording of this speaker fits its words. Check the transcripts.")

    return say


def _voice(
    rng: np.random.Generator, masculine: bool, engines: tuple[str, ...], recordings: Path | None
) -> Callable[[], Utterance]:
    """A function that says one more sentence, always with the same voice."""
    weights = np.array([WEIGHTS[e] for e in engines])
    engine = str(rng.choice(engines, p=weights / weights.sum()))
    if engine == "recordings" and recordings is not None:
        return _recorded(rng, recordings)
    low, high = (0.90, 1.08) if masculine else (0.92, 1.12)
    size = float(rng.uniform(low, high))
    if engine == "flite":
        name = str(rng.choice(FLITE_VOICES[masculine]))
        stretch = float(rng.uniform(0.85, 1.2)) * size
        return lambda: augment.change_size(flite(sentence(rng), name, stretch), size)
    if engine == "piper":
        voices, pace = piper_voices(), float(rng.uniform(0.85, 1.2))
        chosen = voices[int(rng.integers(len(voices)))]
        return lambda: augment.change_size(piper(sentence(rng), chosen, pace), size)
    variant = str(rng.choice(VARIANTS[masculine]))
    foreign = str(rng.choice(sorted(FOREIGN))) if rng.random() < 0.2 else None
    voice = f"{foreign or str(rng.choice(ENGLISH))}+{variant}"
    rate, pitch, spread = int(rng.uniform(135, 185) * size), int(rng.uniform(35, 65)), int(rng.uniform(35, 75))

    def say() -> Utterance:
        text = foreign_sentence(foreign, rng) if foreign else sentence(rng)
        return augment.change_size(espeak(text, voice, rate, pitch, spread), size)

    return say


def speak(
    rng: np.random.Generator,
    seconds: float,
    masculine: bool,
    engines: tuple[str, ...] | None = None,
    recordings: Path | None = None,
) -> Speech:
    """Speak for `seconds`: a lead-in, sentences with pauses and breaths, room and noise.

    Args:
        engines: which of `available_engines` to use; None = all that are installed.
        recordings: folder of real recordings, see `recordings.speakers`.
    """
    engines = available_engines(recordings) if engines is None else engines
    if not engines:
        raise MediaError("no speech engine: run `pip install latentsync[synth]` for espeak-ng, or install flite.")
    say = _voice(rng, masculine, engines, recordings)
    pieces: list[Float] = []
    phones: list[Phone] = []
    texts: list[str] = []
    voice, t = "", 0

    def add(audio: Float, spoken: tuple[Phone, ...] = ()) -> None:
        nonlocal t
        phones.extend(p.moved(t / SPEECH_RATE_HZ) for p in spoken)
        pieces.append(audio)
        t += len(audio)

    if rng.random() < 0.4:
        add(np.zeros(int(rng.uniform(0.1, 0.7) * SPEECH_RATE_HZ), np.float32))
    while t < (seconds + 0.3) * SPEECH_RATE_HZ:
        said = say()
        add(said.audio, said.phones)
        texts.append(said.text)
        voice = said.voice
        if rng.random() < 0.5:
            pause = float(rng.uniform(0.05, 0.6))
            add(
                augment.breath(rng, pause)
                if pause > 0.3 and rng.random() < 0.5
                else np.zeros(int(pause * SPEECH_RATE_HZ), np.float32)
            )
    num = round(seconds * SPEECH_RATE_HZ)
    audio = disturb(np.concatenate(pieces)[:num], rng)
    return Speech(audio, tuple(p for p in phones if p.start_s < seconds), voice, " ".join(texts))


def disturb(audio: Float, rng: np.random.Generator) -> Float:
    """Loudness, spectrum, room and noise of some recording; no delay."""
    audio = audio * (rng.uniform(0.25, 0.85) / max(float(np.abs(audio).max()), 1e-3))
    audio = augment.tilt_spectrum(audio, float(rng.normal(0, 1.2)))
    if rng.random() < 0.7:
        audio = augment.small_room(audio, rng, float(rng.uniform(0.05, 0.25)), float(rng.uniform(0, 0.05)))
    level = 10 ** float(rng.uniform(-4.2, -2.5))
    audio = audio + augment.background_noise(len(audio), rng, level, float(rng.uniform(0, 1.6)))
    return np.clip(audio, -0.98, 0.98).astype(np.float32)
