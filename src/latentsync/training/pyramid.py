"""A distance of pictures over several sizes of detail."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

LEVELS = 3


def laplacian_loss(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the band-pass levels of two (B, 3, H, W) pictures, each band alike."""
    total = made.new_zeros(())
    difference = made - real
    for _ in range(LEVELS):
        small = functional.avg_pool2d(difference, 2)
        total = total + (difference - functional.interpolate(small, scale_factor=2.0, mode="nearest")).abs().mean()
        difference = small
    return total
