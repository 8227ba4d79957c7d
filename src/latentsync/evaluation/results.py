"""What a suite is reported and what it finds: options, rows of scores, evidence to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.distributions import Distribution
from latentsync.evaluation.mouths import MouthLine
from latentsync.evaluation.protocols import ALL_PROTOCOLS, MIN_STEPS, PROTOCOLS, Protocol
from latentsync.evaluation.scoring import Scores

MODEL, UNTOUCHED, FROZEN, SHUFFLED, REAL = "model", "untouched", "frozen mouth", "shuffled audio", "real"
"""`MODEL` is how a single result is called, of which nothing else is known; the others are the baselines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteOptions:
    """What a suite does.

    Attributes:
        protocols: see `protocols.EXPLAINED`.
        seed: decides who speaks over whom, and which parts of their sentences.
        resolution: side of the aligned crops that pictures are compared in.
        mask: name of the model's inpaint mask.
        shift_frames: delay of the shifted protocol, 1/25 s.
        chunk_frames: frames the model denoises together; None = not known, no seam score.
        max_frames: frames used of each clip.
        native: also compare sharpness at the video's own resolution.
        keep_folder: where results are kept as videos; None = they are deleted after scoring.
    """

    protocols: tuple[Protocol, ...] = PROTOCOLS
    seed: int = 0
    resolution: int = 256
    mask: str = "mask"
    shift_frames: int = 5
    chunk_frames: int | None = 16
    max_frames: int = 500
    native: bool = False
    keep_folder: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.protocols if name not in ALL_PROTOCOLS]
        if unknown or not self.protocols:
            raise ConfigError("protocol", ",".join(self.protocols), f"choose of {', '.join(ALL_PROTOCOLS)}")
        if self.shift_frames == 0 or abs(self.shift_frames) > 10:
            raise ConfigError("shift_frames", self.shift_frames, "choose 1 to 10 frames, or a negative number")
        if self.max_frames < MIN_STEPS:
            raise ConfigError("max_frames", self.max_frames, f"choose {MIN_STEPS} or more")


@dataclass(frozen=True)
class Row:
    """Scores of one system on one case; `speech` says whose words, in parts."""

    protocol: Protocol
    system: str
    clip_id: str
    person: str
    speech: tuple[tuple[str, float, float], ...]
    scores: Scores


@dataclass(frozen=True)
class Evidence:
    """What a person looks at: curves on the 25 Hz grid and a strip of mouths, source over result (JPEG)."""

    row: Row
    opening: np.ndarray
    speaker: np.ndarray | None
    old: np.ndarray
    loudness: np.ndarray
    strip: bytes


@dataclass
class SuiteResult:
    """Everything a report is made of.

    Attributes:
        methods: names of what was under test, in the order of the columns.
        missing: name of the field's score → why nobody could compute it.
        failed: (clip, protocol, message) that could not be done.
    """

    clips: list[TestClip]
    options: SuiteOptions
    rows: list[Row] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    mouths: list[MouthLine] = field(default_factory=list)

    @property
    def systems(self) -> list[str]:
        """Every column: methods, then baselines in their fixed order, then what is left in order of appearance."""
        return systems_of(self.rows, self.methods)


def systems_of(rows: Sequence[Row], methods: Sequence[str] = ()) -> list[str]:
    """Columns of these rows, see `SuiteResult.systems`."""
    found = list(dict.fromkeys(row.system for row in rows))
    first = [name for name in (methods or found) if name in found and name not in (UNTOUCHED, FROZEN, REAL)]
    shuffled = [name for name in found if name.endswith(SHUFFLED)]
    first = [name for name in first if name not in shuffled]
    order = [*first, UNTOUCHED, FROZEN, *shuffled, REAL]
    return [name for name in order if name in found] + [name for name in found if name not in order]
