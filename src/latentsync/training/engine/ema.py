"""Averaged weights: what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from latentsync.training.engine.sharding import own


class EmaWeights:
    """Exponential moving average of a network's trainable parameters.

    Frozen parameters and buffers are not averaged: the network's own are used.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.shadow: dict[str, Tensor] = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Blend in the weights after step `step` (from 1): a ← d·a + (1 − d)·w with d = min(decay, step / (9 + step)),
        so that the first steps, whose weights are far off, are soon forgotten."""
        decay = min(self.decay, step / (9 + step))
        for name, value in self.live.items():
            own(self.shadow[name]).lerp_(own(value), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.live.items():
            live, shadow = own(value), own(self.shadow[name])
            kept = live.clone()
            live.copy_(shadow)
            shadow.copy_(kept)
