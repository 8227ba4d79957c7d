"""One process or many: what accelerate is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, gather_object
from torch import Tensor

from latentsync.core.errors import ConfigError
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.objectives import TrainedObjective
from latentsync.training.engine.preflight import holding, in_use

PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which validates alone."""
PRECISIONS = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


def has_accelerator() -> bool:
    """A GPU or the like is there."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def start(config: TrainConfig) -> Accelerator:
    """Join the other processes of this run, if there are any. Raises: ConfigError: fp16 on a CPU."""
    if AcceleratorState._shared_state:  # a run before this one, in the same process
        AcceleratorState._reset_state()
    cpu = not has_accelerator()
    if cpu and config.precision == "fp16":
        raise ConfigError("loop.precision", "fp16", "needs a GPU; choose bf16 or float32")
    made = Accelerator(
        mixed_precision=PRECISIONS[config.precision],
        cpu=cpu,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(find_unused_parameters=config.unused_parameters),
        ],
    )
    plugin = getattr(made.state, "fsdp_plugin", None)
    if made.distributed_type == DistributedType.FSDP and getattr(plugin, "fsdp_version", 1) != 2:
        raise ConfigError("fsdp_version", 1, "write fsdp_version: 2 in the configuration of accelerate")
    return made


@contextmanager
def claimed(accelerator: Accelerator, out: Path) -> Iterator[None]:
    """Hold the run's folder: its first process does, for all of them.

    Raises: LatentSyncError, in all processes: another run is at work in it.
    """
    with holding(out) if accelerator.is_main_process else nullcontext(False) as ours:
        held = torch.tensor(float(ours), device=accelerator.device)
        if accelerator.reduce(held, reduction="sum").item() == 0:
            raise in_use(out)
        yield


def leave(accelerator: Accelerator) -> None:
    """TrainedObjective from the other processes once all are done. Left to the interpreter's exit, their threads may
    abort it."""
    accelerator.wait_for_everyone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def syncing(accelerator: Accelerator, part: TrainedObjective, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are shared among the processes in the last part of a step alone; sharded ones always."""
    return nullcontext() if is_last or part.is_sharded else accelerator.no_sync(part.model)


class Agreement:
    """Figures that all processes share: means over them, so not finite on all where one is not.

    One exchange a step. Names that some process has not told before (a term that is there now and then) cost one more.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.names: list[str] = []

    def means(self, figures: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The same dictionary in all processes. A figure counts as 0 where a process has none of this name."""
        unknown = [name for name in figures if name not in self.names]
        *values, news = self._exchange([*(figures.get(name, 0.0) for name in self.names), float(len(unknown))])
        if news > 0:
            self.names += dict.fromkeys(gather_object(unknown))  # the first process's come first
            *values, _ = self._exchange([*(figures.get(name, 0.0) for name in self.names), 0.0])
        return dict(zip(self.names, values, strict=True))

    def _exchange(self, values: Sequence[Tensor | float]) -> list[float]:
        device = self.accelerator.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        row = torch.stack([torch.as_tensor(value, dtype=dtype, device=device) for value in values])
        return self.accelerator.reduce(row, reduction="mean").tolist()
