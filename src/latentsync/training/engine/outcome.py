"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: `finished`, or `stopped` by the flag; the state is on disk either way.
        score: of the last validation, the task's `score_name`; None in processes other than the first.
        component: what the pipeline loads, with the last averaged weights; `best`: with those of the best score.
    """

    reason: Literal["finished", "stopped"]
    step: int
    minutes: float
    score: float | None
    score_name: str
    more_is_better: bool
    best_score: float | None
    best_step: int | None
    component: Path
    best: Path

    def reaches(self, wanted: float) -> bool:
        """The score is as good as `wanted`; a missing one, or one that is not a number, is not."""
        if self.score is None:
            return False
        return self.score >= wanted if self.more_is_better else self.score <= wanted
