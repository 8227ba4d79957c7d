from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from latentsync.media.threads import Prefetch


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_order_is_kept_and_the_thread_joined() -> None:
    with Prefetch(range(100), depth=3) as items:
        assert list(items) == list(range(100))
    assert "prefetch" not in running()


def test_it_runs_ahead_but_not_far() -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            pulled.append(number)
            yield number

    with Prefetch(source(), depth=3) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 60
        while len(pulled) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert len(pulled) == 5  # one taken, three waiting, one in the hand
    assert "prefetch" not in running()


def test_an_exception_comes_where_its_item_would_have_come() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("from the thread")

    items = Prefetch(source())
    assert next(items) == 1
    with pytest.raises(KeyError, match="from the thread"):
        next(items)
    assert "prefetch" not in running()
    assert list(items) == []


def test_leaving_early_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    with pytest.raises(RuntimeError), Prefetch(source(), depth=2) as items:
        next(items)
        raise RuntimeError
    assert closed.is_set() and "prefetch" not in running()
