"""Progress events and the stop flag. The library emits, the roofs draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentsync.core.errors import Stopped


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (None = not known) `unit`s of `stage` are finished."""

    stage: str
    done: int
    total: int | None
    unit: str = "frames"


ProgressCallback = Callable[[Progress], None]
StopFlag = Callable[[], bool]


def silent(_: Progress) -> None:
    """The callback that does nothing."""


def never() -> bool:
    """The stop flag that is never raised."""
    return False


def check(stop: StopFlag) -> None:
    """Raise `Stopped` when the caller has asked to stop."""
    if stop():
        raise Stopped("stopped on request; nothing was written")
