"""The fill rule of the golden vectors: any network with the same parameter names gets the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def fill(module: nn.Module) -> None:
    """Parameter k in string order of the names gets 0.05·sin(0.37 i + 0.11 k) at flat index i; norm gains get +1."""
    for k, (name, parameter) in enumerate(sorted(module.named_parameters())):
        i = torch.arange(parameter.numel(), dtype=torch.float64)
        value = 0.05 * torch.sin(0.37 * i + 0.11 * k)
        if parameter.ndim == 1 and name.endswith(".weight"):
            value += 1
        parameter.copy_(value.view(parameter.shape))


def wave(shape: tuple[int, ...], rate: float, phase: float) -> Tensor:
    """sin(rate·i + phase) over the row-major flat index i, float64."""
    count = torch.Size(shape).numel()
    return torch.sin(rate * torch.arange(count, dtype=torch.float64) + phase).view(shape)
