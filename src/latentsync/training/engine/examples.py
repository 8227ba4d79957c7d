"""Examples by number: which process makes which, in which order, from any step on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.task import Task


@dataclass(frozen=True, kw_only=True)
class Share:
    """The numbers one process sees: step k has k·B … k·B + B − 1, cut into accumulation × processes equal runs.

    So the examples of a step are the same however many processes share them.
    """

    batch_size: int
    accumulation: int = 1
    processes: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulation * self.processes):
            parts = f"{self.processes} processes × {self.accumulation} parts"
            raise ConfigError("loop.batch_size", self.batch_size, f"choose a multiple of {parts}")

    def numbers(self, step: int) -> list[list[int]]:
        """Example numbers of each part of a step."""
        size = self.batch_size // (self.accumulation * self.processes)
        firsts = (step * self.batch_size + (a * self.processes + self.rank) * size for a in range(self.accumulation))
        return [list(range(first, first + size)) for first in firsts]


class _Examples(Dataset[dict[str, Tensor]]):
    def __init__(self, task: Task) -> None:
        self.task = task

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return self.task.example(number)


class _Parts(Sampler[list[int]]):
    def __init__(self, share: Share, first_step: int) -> None:
        self.share, self.first_step = share, first_step

    def __iter__(self) -> Iterator[list[int]]:
        for step in count(self.first_step):
            yield from self.share.numbers(step)


def stack(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Examples along a new first axis."""
    return {key: torch.stack([example[key] for example in examples]) for key in examples[0]}


def batches(
    task: Task, share: Share, config: TrainConfig, first_step: int, pin_memory: bool
) -> Iterator[dict[str, Tensor]]:
    """Endless parts of steps, from step `first_step` on, made ahead by `config.workers` processes."""
    loader = DataLoader(
        _Examples(task),
        batch_sampler=_Parts(share, first_step),
        collate_fn=stack,
        num_workers=config.workers or 0,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(config.seed),
    )
    return iter(loader)


LOST = (
    "a loader process was killed, most likely for want of memory. Choose fewer --workers; the same command goes on "
    "from the last state"
)


def next_part(parts: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The next part of a step. Raises: LatentSyncError: the loader process that was handing it over is gone."""
    try:
        return next(parts)
    except (ConnectionError, EOFError) as error:
        raise LatentSyncError(LOST) from error


@contextmanager
def explain_lost_loader() -> Iterator[None]:
    """Raises: LatentSyncError: within, a loader process was killed.

    PyTorch tells it by a signal, wherever the main thread is then. An error inside a loader process is not meant.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise LatentSyncError(LOST) from error
