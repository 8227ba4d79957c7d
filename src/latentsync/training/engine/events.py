"""What a run tells while it goes on. The library calls back with these; roofs draw and logs write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentsync.training.engine.task import ValidationResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Where a run stands.

    Attributes:
        step: finished optimiser steps.
        spent_s: seconds over all sittings.
        share: how much of the run is done, 0 to 1.
    """

    step: int
    spent_s: float
    share: float


@dataclass(frozen=True, slots=True)
class Began:
    """The run starts, or goes on from `state`."""

    at: Moment
    state: Path | None
    num_parameters: int
    device: str
    processes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over the steps since the last one: `loss`, its terms, `rate`, `grad_norm`, `time/step_s`, …"""

    at: Moment
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation; `is_best` of the run so far."""

    at: Moment
    validation_result: ValidationResult
    score: float | None
    is_best: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Saved:
    """A full state lies on disk."""

    at: Moment
    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Something was not finite: the run stands at `at` again, with a smaller rate, and passes over the bad examples."""

    at: Moment
    failed_step: int
    reason: str
    rate_scale: float


Event = Began | Measured | Validated | Saved | RolledBack
Watcher = Callable[[Event], None]
