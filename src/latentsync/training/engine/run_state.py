"""Where a run stands, beyond its tensors: counters that are stored in every state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RunState:
    """Attributes:
    step: finished optimiser steps.
    data_step: step whose examples come next; ahead of `step` by those passed over after a failure.
    spent_s: seconds over all sittings.
    rate_scale: halved at each failure.
    rollbacks: failures so far.
    best_score, best_step: of the validations so far, None before the first.
    judged_step, judged_s: last validation.
    window, window_steps: sums since the last line of figures.
    """

    step: int = 0
    data_step: int = 0
    spent_s: float = 0.0
    rate_scale: float = 1.0
    rollbacks: int = 0
    best_score: float | None = None
    best_step: int | None = None
    judged_step: int | None = None
    judged_s: float = 0.0
    window: dict[str, float] = field(default_factory=dict)
    window_steps: int = 0

    def add(self, figures: Mapping[str, float]) -> None:
        """One more step's figures."""
        for name, value in figures.items():
            self.window[name] = self.window.get(name, 0.0) + value
        self.window_steps += 1

    def take_means(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        means = {name: value / self.window_steps for name, value in self.window.items()}
        self.window, self.window_steps = {}, 0
        return means

    def facts(self) -> dict[str, Any]:
        """For JSON; `RunState(**facts)` is its inverse."""
        return asdict(self)

    def improves(self, score: float, more_is_better: bool) -> bool:
        """A score is the best so far. One that is not a number never is."""
        if score != score:
            return False
        return self.best_score is None or (score > self.best_score if more_is_better else score < self.best_score)
