"""Tensors of which every process holds a part (FSDP2's DTensor), and plain ones, alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    from torch.distributed.tensor import DTensor, distribute_tensor
except ImportError:  # torch before 2.5, or built without distributed
    DTensor = None  # type: ignore[assignment,misc]


def is_sharded(tensor: Tensor) -> bool:
    """This process holds a part of it."""
    return DTensor is not None and isinstance(tensor, DTensor)


def own(tensor: Tensor) -> Tensor:
    """What this process holds, sharing memory."""
    return tensor.detach().to_local() if is_sharded(tensor) else tensor.detach()  # type: ignore[attr-defined]


def whole(tensor: Tensor) -> Tensor:
    """All of it. Every process must ask at the same time."""
    return tensor.detach().full_tensor() if is_sharded(tensor) else tensor.detach()  # type: ignore[attr-defined]


@torch.no_grad()
def put(target: Tensor, value: Tensor) -> None:
    """Copy `value`, whole or sharded alike, into `target`."""
    if is_sharded(target) and not is_sharded(value):
        like: Any = target
        value = distribute_tensor(value.to(target.device, target.dtype), like.device_mesh, like.placements)
    own(target).copy_(own(value))
