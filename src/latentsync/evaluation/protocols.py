"""What is driven with what: the four protocols, deterministic in (clips, seed)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.speech import Donor, Speech, assemble, own_speech, shifted, silence

Protocol = Literal["paired", "reconstruction", "cross", "silent", "shifted", "single"]
PROTOCOLS: tuple[Protocol, ...] = ("reconstruction", "cross", "silent", "shifted")
"""Those of a suite where none is asked for."""
ALL_PROTOCOLS: tuple[Protocol, ...] = ("paired", *PROTOCOLS)
"""Those that can be asked for; "single" is one result that somebody made."""

EXPLAINED = {
    "paired": "The clip's own speech over the clip as it is: the setting of most papers. The right mouth is there to "
    "be copied, so an untouched video scores best; read it beside the others.",
    "reconstruction": "The clip's own speech; every frame's mouth region is first exchanged with one from half the "
    "clip away, so the right mouth is nowhere to be copied from.",
    "cross": "Another person's speech, put together from parts of several sentences so that no shared rhythm helps.",
    "silent": "Digital silence: the mouth has to close and stay still.",
    "shifted": "The clip's own speech, later by a fixed number of frames: the mouth has to be late with it.",
    "single": "One result beside its source. The speaker's own video is not known, so the mouth is compared with "
    "the sound alone (by a judge network, where one is given) and with the old mouth.",
}

MIN_STEPS = 25
"""Shortest clip that is scored, in 1/25 s: below a second a correlation says nothing."""


@dataclass(frozen=True)
class Case:
    """One thing to do: drive `clip` with `speech`.

    Attributes:
        other: speech of a third person for the shuffled-audio baseline (cross only).
        shift_frames: of the shifted protocol, else 0.
    """

    protocol: Protocol
    clip: TestClip
    speech: Speech
    other: Speech | None = None
    shift_frames: int = 0


def cases_of(
    clip: TestClip,
    protocols: Sequence[Protocol],
    donors: dict[str, list[Donor]],
    own: Donor,
    seed: int,
    shift_frames: int = 5,
) -> list[Case]:
    """The cases of one clip.

    Args:
        donors: clips by person.
        own: this clip as a donor.
        seed: with the clip's hash it decides who speaks and which parts.
    Raises: ConfigError: cross-driving needs a second person.
    """
    rng = np.random.default_rng([seed, zlib.crc32(clip.sha256.encode())])
    steps = own.num_steps
    cases = []
    for protocol in protocols:
        if protocol in ("paired", "reconstruction"):
            cases.append(Case(protocol, clip, own_speech(own, steps)))
        elif protocol == "silent":
            cases.append(Case(protocol, clip, silence(steps)))
        elif protocol == "shifted":
            late = shifted(own_speech(own, steps), shift_frames)
            cases.append(Case(protocol, clip, late, shift_frames=shift_frames))
        else:
            cases.append(_cross(clip, donors, steps, rng))
    return cases


def _cross(clip: TestClip, donors: dict[str, list[Donor]], steps: int, rng: np.random.Generator) -> Case:
    persons = [person for person in sorted(donors) if person != clip.person]
    if not persons:
        raise ConfigError("protocol", "cross", "give clips of two or more persons, or leave cross out")
    speaker = persons[int(rng.integers(len(persons)))]
    third = [person for person in persons if person != speaker] or [speaker]
    other = third[int(rng.integers(len(third)))]
    return Case("cross", clip, assemble(donors[speaker], steps, rng), assemble(donors[other], steps, rng))
