"""Chunks on their way through the generator: one is encoded while the one before is drawn, both beside the thread that
cuts and pastes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from latentsync.core.values import Float
from latentsync.pipeline.generate import Networks
from latentsync.pipeline.stills import References

STAGES = 2
"""Chunks that are on their way at once."""
LIGHT_PARAMETERS = 100_000_000
"""Networks of more do one thing at a time: their memory would be needed twice, and drawing is nearly all they do."""


class TwoStages(Protocol):
    """See `Generator.prepare` and `Generator.finish`."""

    def prepare(
        self, crops: Float, windows: Tensor, frames: Sequence[int], references: References | None = None
    ) -> Any: ...  # pragma: no cover

    def finish(self, prepared: Any) -> Float: ...  # pragma: no cover


class Conveyor:
    """Two threads, joined at the end of the block; work that hasn't begun is dropped there."""

    def __init__(self, stages: TwoStages) -> None:
        self._stages = stages
        self._first, self._second = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("encode", "draw"))

    def __enter__(self) -> Conveyor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._first, self._second):
            pool.shutdown(wait=True, cancel_futures=True)

    def begin(
        self, crops: Float, windows: Tensor, frames: Sequence[int], references: References | None
    ) -> Callable[[], Float]:
        """Take on a chunk, after those before it. Returns: what waits for its crops, or raises what making them did."""
        prepared = self._first.submit(self._stages.prepare, crops, windows, frames, references)
        return self._second.submit(lambda: self._stages.finish(prepared.result())).result


class _TorchThreads:
    """Torch's threads, a number of the whole process, lowered as long as anybody shares them out."""

    def __init__(self) -> None:
        self._lock, self._sharers, self._before = threading.Lock(), 0, 1

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside the block each stage gets its part of them."""
        with self._lock:
            if self._sharers == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(max(1, self._before // STAGES))
            self._sharers += 1
        try:
            yield
        finally:
            with self._lock:
                self._sharers -= 1
                if self._sharers == 0:
                    torch.set_num_threads(self._before)


_THREADS = _TorchThreads()


@contextmanager
def conveyor_for(stages: TwoStages, networks: Networks | None) -> Iterator[Conveyor | None]:
    """A conveyor where that pays: on a CPU, with networks of at most `LIGHT_PARAMETERS`; else None."""
    if networks is None or networks.device.type != "cpu" or _num_parameters(networks) > LIGHT_PARAMETERS:
        yield None
        return
    with _THREADS.shared(), Conveyor(stages) as conveyor:
        yield conveyor


def _num_parameters(networks: Networks) -> int:
    parts = (part for part in (networks.unet, networks.autoencoder) if isinstance(part, nn.Module))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
