"""Measured values against their limits: cheap, so that a changed limit costs no second measuring."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from latentsync.data.clip import Clip, Rejected
from latentsync.data.stages.base import PlainStage


@dataclass(frozen=True, slots=True)
class Limit:
    """A score must be at least, or at most, a value; else `reason`. `setting`: where the value can be changed."""

    score: str
    kind: Literal["min", "max"]
    value: float
    reason: str
    setting: str

    def allows(self, value: float) -> bool:
        return value >= self.value if self.kind == "min" else value <= self.value


class Limits(PlainStage):
    """Rejects a clip for the first limit that it breaks."""

    version = 1

    def __init__(self, name: str, limits: tuple[Limit, ...]) -> None:
        super().__init__()
        self.name, self.limits = name, limits

    @property
    def settings(self) -> dict[str, Any]:
        return {"limits": [asdict(limit) for limit in self.limits]}

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        for limit in self.limits:
            value = clip.scores.get(limit.score)
            if value is not None and not limit.allows(value):
                return self.no(limit.reason, value, limit.value)
        return [clip]
