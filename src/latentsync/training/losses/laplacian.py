"""A distance of pictures over several sizes of detail."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

LEVELS = 3


def laplacian_loss(made: Tensor, real: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the band-pass levels of two (B, 3, H, W) pictures, each band alike.

    Args:
        weight: (B, 1, H, W) of mean about 1: what each place counts; None = alike.
    """
    total = made.new_zeros(())
    difference = made - real
    for _ in range(LEVELS):
        small = functional.avg_pool2d(difference, 2)
        band = (difference - functional.interpolate(small, scale_factor=2.0, mode="nearest")).abs()
        total = total + (band if weight is None else band * weight).mean()
        difference = small
        weight = None if weight is None else functional.avg_pool2d(weight, 2)
    return total
