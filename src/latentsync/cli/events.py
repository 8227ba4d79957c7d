"""`latentsync --events …`: progress, log and errors as JSON lines on stderr, for programs that run us.

{"event": "progress", "stage": "sync", "done": 48, "total": 156, "unit": "frames", "per_s": 22.4, "left_s": 4.8, …}
{"event": "log", "level": "warning", "text": "…"}
{"event": "error", "text": "error: talk.mp4: no such file. Check the path."}
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.core.progress import Progress

SWITCH = "LATENTSYNC_EVENTS"
"""Environment variable that the option sets, so that worker processes know."""
EVERY_S = 0.25
GIB = 2**30


def wanted() -> bool:
    return os.environ.get(SWITCH) == "1"


def emit(event: str, **fields: object) -> None:
    """One line of JSON on stderr."""
    sys.stderr.write(json.dumps({"event": event} | fields, ensure_ascii=False) + "\n")
    sys.stderr.flush()


def memory_gib() -> float | None:
    """Resident memory of this process now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / GIB
    except (OSError, ValueError, IndexError, AttributeError):
        return None


@dataclass
class Lines:
    """Progress as events: at most four a second and stage, and each stage's first and last."""

    begun: dict[str, float] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)

    def show(self, step: Progress) -> None:
        now = time.monotonic()
        elapsed_s = now - self.begun.setdefault(step.stage, now)
        at_end = step.total is not None and step.done >= step.total
        if step.stage in self.shown and not at_end and now - self.shown[step.stage] < EVERY_S:
            return
        self.shown[step.stage] = now
        per_s = step.done / elapsed_s if elapsed_s > 0 else None
        left_s = (step.total - step.done) / per_s if per_s and step.total is not None else None
        emit(
            "progress", stage=step.stage, done=step.done, total=step.total, unit=step.unit,
            per_s=_short(per_s), left_s=_short(left_s), memory_gib=_short(memory_gib()),
        )  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
