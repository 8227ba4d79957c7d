"""One process or many: what accelerate is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from latentsync.core.errors import ConfigError
from latentsync.training.config import TrainConfig
from latentsync.training.parts import Part

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
    return Accelerator(
        mixed_precision=PRECISIONS[config.precision],
        cpu=cpu,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(find_unused_parameters=config.unused_parameters),
        ],
    )


def syncing(accelerator: Accelerator, part: Part, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are shared among the processes in the last part of a step alone."""
    return nullcontext() if is_last else accelerator.no_sync(part.model)


def agree(accelerator: Accelerator, figures: Mapping[str, torch.Tensor | float]) -> dict[str, float]:
    """Means over the processes, the same on all; not finite on all where one is not. One exchange."""
    device = accelerator.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    row = torch.stack([torch.as_tensor(value, dtype=dtype, device=device) for value in figures.values()])
    row = accelerator.reduce(row, reduction="mean")
    return dict(zip(figures, row.tolist(), strict=True))
