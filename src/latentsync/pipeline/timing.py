"""Wall-clock seconds by stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Adds up the time spent inside named stages by one thread."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block as `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started  # type: ignore[assignment]

    def around(self, name: str, values: Iterable[T]) -> Iterator[T]:
        """Pass values on, counting the time spent getting them as `name`."""
        source = iter(values)
        while True:
            with self.stage(name):
                try:
                    value = next(source)
                except StopIteration:
                    return
            yield value

    def seconds(self) -> dict[str, float]:
        """Stage → seconds, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in self._seconds.items()}
