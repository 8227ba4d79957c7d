"""Colours of made mouths against those of the real ones, whatever lies where."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

COLOUR_PX = 4
"""Side of the squares whose mean colours are compared, pixels."""
AXES = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
"""Brightness, red against green, yellow against blue."""


def colour_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of colour without brightness: (n, 3, H, W) in [−1, 1] → scalar."""
    error = functional.avg_pool2d(made - wanted, COLOUR_PX)
    return (error - error.mean(1, keepdim=True)).abs().mean()


def spread_distance(made: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """How far the colours between the lips are from the real ones in no matter which order.

    Along each of `AXES` the pixels of either picture are sorted and compared rank by rank, which is the transport
    distance of the two distributions (sliced as in Rabin et al. 2012, along fixed directions). Speech doesn't say where
    teeth end; how bright the brightest and how dark the darkest of a mouth is can be right all the same, and an average
    of teeth and dark is far from both.

    Args: made, wanted: (n, 3, H, W) in [−1, 1]; inside: (n, H, W) bool, pixels between the lips.
    Returns: scalar, mean absolute difference of a pixel, summed over the axes; 0 where no mouth is open.
    """
    axes = made.new_tensor(AXES)
    total, count = made.sum() * 0, 0
    for ours, theirs, where in zip(made, wanted, inside, strict=True):
        pixels = int(where.sum())
        if pixels:
            ranked = [(axes[:, :, None] * picture[:, where]).sum(1).sort(dim=1).values for picture in (ours, theirs)]
            total = total + (ranked[0] - ranked[1]).abs().sum()
            count += pixels
    return total / max(count, 1)
