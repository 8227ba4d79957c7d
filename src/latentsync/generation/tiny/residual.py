"""What a residual U-Net draws: its answer and the latents of the still references put together."""

from __future__ import annotations

import torch
from torch import Tensor


def output_channels(channels: int, mixes: bool) -> tuple[int, ...]:
    """How many channels a U-Net may give. Args: channels: of the latents. mixes: it may mix two references."""
    return (channels, channels + 1) if mixes else (channels,)


def compose_residual(references: Tensor, answer: Tensor, channels: int) -> Tensor:
    """The first reference, changed.

    An answer of one channel more than the latents have also says for each cell how far it goes from the first reference
    towards the second: teeth and the skin around an open mouth are then the person's own, and only what differs from
    both has to be drawn.

    Args:
        references: (B, n·c, F, h, w) latents.
        answer: (B, c or c + 1, F, h, w) of the U-Net; the last channel of c + 1 is the share of the way.
        channels: c.
    Returns: (B, c, F, h, w) float32.
    """
    first = references[:, :channels].float()
    changed = first + answer[:, :channels].float()
    if answer.shape[1] == channels:
        return changed
    second = references[:, channels : 2 * channels].float()
    return torch.addcmul(changed, answer[:, channels:].float(), second - first)
