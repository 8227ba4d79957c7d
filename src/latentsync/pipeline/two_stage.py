"""Chunks on their way through the generator: one is encoded while the one before is drawn, both beside the thread that
cuts and pastes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import nn

from latentsync.core.values import Float
from latentsync.generation.networks import Networks
from latentsync.generation.protocol import ChunkInputs, MouthSampler

STAGES = 2
"""Chunks that are on their way at once."""
LIGHT_PARAMETERS = 100_000_000
"""Networks of more do one thing at a time: their memory would be needed twice, and drawing is nearly all they do."""


class TwoStageExecutor:
    """Two threads, joined at the end of the block; work that hasn't begun is dropped there.

    Each gets its part of the threads that torch may use in the one that makes the executor, which keeps its own.
    """

    def __init__(self, sampler: MouthSampler) -> None:
        self._sampler = sampler
        self._first, self._second = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("encode", "draw"))
        before = torch.get_num_threads()
        for pool in (self._first, self._second):
            pool.submit(_use_torch_threads, max(1, before // STAGES)).result()
        torch.set_num_threads(before)  # of each thread its own, and what later threads begin with

    def __enter__(self) -> TwoStageExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._first.shutdown(wait=True, cancel_futures=True)
        finally:
            self._second.shutdown(wait=True, cancel_futures=True)

    def begin(self, inputs: ChunkInputs) -> Callable[[], Float]:
        """Take on a chunk, after those before it. Returns: what waits for its crops, or raises what making them did."""
        prepared = self._first.submit(self._sampler.prepare, inputs)
        return self._second.submit(lambda: self._sampler.finish(prepared.result())).result


def _use_torch_threads(count: int) -> None:
    torch.get_num_threads()  # a thread's first use of them takes over the last number that any thread has set
    torch.set_num_threads(count)


@contextmanager
def executor_for(sampler: MouthSampler, networks: Networks | None) -> Iterator[TwoStageExecutor | None]:
    """A executor where that pays: on a CPU, with networks of at most `LIGHT_PARAMETERS`; else None."""
    if networks is None or networks.device.type != "cpu" or _num_parameters(networks) > LIGHT_PARAMETERS:
        yield None
        return
    with TwoStageExecutor(sampler) as executor:
        yield executor


def _num_parameters(networks: Networks) -> int:
    parts = (part for part in (networks.unet, networks.autoencoder) if isinstance(part, nn.Module))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
