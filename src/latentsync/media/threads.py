"""Work that runs beside the main thread, with short queues."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class Prefetch(Generic[T]):
    """Pull from an iterable in a thread of its own, at most `depth` items ahead.

    An exception of the iterable is raised where its item would have come. The thread is joined, and the iterable's
    generator closed, when the items are used up, when the loop over it is left (`with` or close()), or at an exception.

        with Prefetch(reader, depth=4) as frames:
            for frame in frames: ...
    """

    def __init__(self, items: Iterable[T], depth: int = 4) -> None:
        if depth < 1:
            raise ValueError(f"depth={depth}: choose 1 or more")
        self._items = items
        self._queue: queue.Queue[tuple[str, object]] = queue.Queue(depth)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._done = False
        self._thread.start()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._done:
            raise StopIteration
        what, value = self._queue.get()
        if what == "item":
            return value  # type: ignore[return-value]
        self.close()
        if what == "error":
            raise value  # type: ignore[misc]
        raise StopIteration

    def close(self) -> None:
        """Stop and join the thread. Items that wait are dropped."""
        self._done = True
        self._leaving.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(_POLL_S)

    def _work(self) -> None:
        iterator = iter(self._items)
        try:
            for item in iterator:
                if not self._put(("item", item)):
                    return
            self._put(("end", None))
        except BaseException as error:
            self._put(("error", error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _put(self, what: tuple[str, object]) -> bool:
        while not self._leaving.is_set():
            try:
                self._queue.put(what, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False
