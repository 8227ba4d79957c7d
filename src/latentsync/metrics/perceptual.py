"""Distance in a network's features: LPIPS where its network and heads are given, else the plain feature distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PerceptualNetwork:
    """Layers to compare pictures in.

    Attributes:
        name: stated with every figure. Call it LPIPS only with the published network *and* its heads.
        layers: (B, 3, H, W) in [−1, 1] → feature maps (B, C, h, w), one per layer.
        heads: one (C,) weight per layer, none negative; None = every channel counts 1/C.
    """

    name: str
    layers: Callable[[Tensor], Sequence[Tensor]]
    heads: Sequence[Tensor] | None = None


def perceptual_distance(network: PerceptualNetwork, a: Tensor, b: Tensor, region: Tensor | None = None) -> Tensor:
    """Weighted squared difference of channel-normalised features, averaged over the region, summed over layers.

    Args:
        a, b: (B, 3, H, W) in [−1, 1].
        region: (H, W) weights in [0, 1], shrunk to each layer by area; None = everywhere.
    Returns: (B,) distances, differentiable.
    Raises: ValueError: a head for each layer is missing, or the region is empty.
    Source: Zhang et al. 2018, equation 1.
    """
    import torch
    from torch.nn import functional

    ours, theirs = network.layers(a), network.layers(b)
    heads = network.heads if network.heads is not None else [x.new_full((x.shape[1],), 1 / x.shape[1]) for x in ours]
    if len(heads) != len(ours):
        raise ValueError(f"{network.name}: {len(heads)} heads for {len(ours)} layers")
    if region is not None and float(region.sum()) <= 0:
        raise ValueError("the region is empty")
    total = torch.zeros(len(a), device=a.device, dtype=torch.float32)
    for x, y, head in zip(ours, theirs, heads, strict=True):
        x, y = (z.float() * (z.float().square().sum(1, keepdim=True) + 1e-10).rsqrt() for z in (x, y))
        apart = ((x - y) ** 2 * head.to(x).view(1, -1, 1, 1)).sum(1)
        if region is None:
            total = total + apart.mean(dim=(1, 2))
        else:
            weight = functional.adaptive_avg_pool2d(region.to(x)[None, None], (apart.shape[1], apart.shape[2]))[0, 0]
            total = total + (apart * weight).sum(dim=(1, 2)) / weight.sum()
    return total
