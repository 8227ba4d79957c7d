"""Temporal representation alignment: clips should look alike to a network that watches videos."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.training.losses.sync import SyncLoss
from latentsync.training.losses.videomae import VideoMae


def feature_distance(made: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of unit vectors (B, D) over batch and D: (2 − 2·cos)/D. Source: docs/method.md#trepa."""
    a, b = (functional.normalize(x.float(), dim=1) for x in (made, real))
    return (a - b).square().mean()


class TrepaLoss(nn.Module):
    """Distance of two clips in a video network's features.

    With VideoMAE v2 both are shown as in the released training: resized to its side (bicubic, no antialiasing), in
    [0, 1] and clamped, without ImageNet statistics. With our SyncNet it is the features of the lips' side.
    """

    def __init__(self, network: VideoMae | SyncLoss) -> None:
        super().__init__()
        self.network = network
        self.name = "VideoMAE v2" if isinstance(network, VideoMae) else "our SyncNet's visual side"

    def _features(self, frames: Tensor) -> Tensor:
        if isinstance(self.network, SyncLoss):
            return self.network.features(frames)
        size = self.network.config.side_px
        flat = functional.interpolate(frames.flatten(0, 1).float(), (size, size), mode="bicubic", align_corners=False)
        return self.network((flat / 2 + 0.5).clamp(0, 1).unflatten(0, frames.shape[:2]))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """(B, F, 3, H, W) each, in about [−1, 1] → a scalar; no gradient to `real`."""
        with torch.no_grad():
            wanted = self._features(real)
        return feature_distance(self._features(made), wanted)
