"""What travels through the data pipeline: ids, spans, scores and paths, never pixels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from latentsync.core.escaping import utf8

GRID_FPS = 25
"""Frames per second of every training clip; frame i of a clip is at start_s + i / 25 of its source."""

Json = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes:
        name: as the user knows it: the path below the input folder, or the URL or path of the list.
        path: where it can be read from now.
        sha256: of its bytes; "" where it cannot be read.
        identity: who speaks in it; what the split goes by.
        in_sync: False = its sound does not belong to its mouth, as the list says.
    """

    name: str
    path: str
    sha256: str = ""
    identity: str = ""
    in_sync: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    """An expected no: the stage that said it, a word for the reason, and the measured value against its limit."""

    stage: str
    reason: str
    value: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of a source.

    Attributes:
        source: where it comes from. It takes no part in ids and in what is skipped: only its content does.
        start_s: its first frame, exact seconds from the source's origin.
        num_frames: at 25 frames a second; 0 = the whole source, not yet counted.
        clip_id: hash of the source's content and of the span it was cut to. Frames that go at its ends when the sound
            is moved do not change it.
        sound_shift_s: the sound beside frame time t is at t + this in the source; exact.
        facts: what stages found out, for later stages and for the manifest.
        scores: measured values, for the manifest and the limits.
        files: name → path below the output folder.
        rejected: why it goes no further, None while it does.
    """

    source: Source
    start_s: Fraction = Fraction(0)
    num_frames: int = 0
    clip_id: str = ""
    sound_shift_s: Fraction = Fraction(0)
    facts: Mapping[str, Json] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    rejected: Rejected | None = None

    @property
    def end_s(self) -> Fraction:
        """End of the last frame."""
        return self.start_s + Fraction(self.num_frames, GRID_FPS)

    @property
    def duration_s(self) -> float:
        return self.num_frames / GRID_FPS

    def cut(self, first: int, num_frames: int) -> Clip:
        """Frames first … first + num_frames − 1 as a clip of their own, with an id of its own."""
        start_s = self.start_s + Fraction(first, GRID_FPS)
        made = clip_id(self.source.sha256, start_s, num_frames)
        return replace(self, start_s=start_s, num_frames=num_frames, clip_id=made)

    def reject(
        self, stage: str, reason: str, value: float | None = None, limit: float | None = None, detail: str = ""
    ) -> Clip:
        """The same clip with the reason why it goes no further."""
        return replace(self, rejected=Rejected(stage, reason, value, limit, detail))

    def scored(self, **scores: float) -> Clip:
        return replace(self, scores={**self.scores, **{key: rounded(value) for key, value in scores.items()}})

    def known(self, **facts: Json) -> Clip:
        return replace(self, facts={**self.facts, **facts})


def clip_id(sha256: str, start_s: Fraction, num_frames: int) -> str:
    """16 hex digits of SHA-256 over source content and span."""
    return hashlib.sha256(f"{sha256} {start_s} {num_frames}/{GRID_FPS}".encode()).hexdigest()[:16]


def whole(source: Source) -> Clip:
    """All of a source, before anything is known about it."""
    return Clip(source, clip_id=clip_id(source.sha256 or source.name, Fraction(0), 0))


def rounded(value: float) -> float:
    """Six significant digits: what a score is worth, and equal on every machine."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else number


def to_dict(clip: Clip) -> dict[str, Any]:
    """Everything but the source, ready for JSON; `from_dict` is the way back."""
    no = clip.rejected
    return {
        "id": clip.clip_id,
        "start_s": str(clip.start_s),
        "num_frames": clip.num_frames,
        "sound_shift_s": str(clip.sound_shift_s),
        "facts": dict(sorted(clip.facts.items())),
        "scores": dict(sorted(clip.scores.items())),
        "files": dict(sorted(clip.files.items())),
        "rejected": None if no is None else [no.stage, no.reason, no.value, no.limit, no.detail],
    }


def from_dict(data: Mapping[str, Any], source: Source) -> Clip:
    no = data["rejected"]
    return Clip(
        source,
        Fraction(data["start_s"]),
        int(data["num_frames"]),
        data["id"],
        Fraction(data["sound_shift_s"]),
        data["facts"],
        data["scores"],
        data["files"],
        None if no is None else Rejected(*no),
    )


def dumps(value: object) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces, text as it is."""
    return utf8(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
