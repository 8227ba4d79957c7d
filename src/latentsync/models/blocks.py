"""The levels of the U-Net: resnets with time-pooled norms, down- and upsampling, encoder, middle and decoder blocks.

Activations travel folded, (b·f, C, h, w) with channels-last memory: convolutions see a batch of pictures, transformers
see tokens, and the norms that pool over time see (b, C, f·h, w) - all views of the same memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.models.attention import SpatialTransformer
from latentsync.models.norm import group_norm
from latentsync.models.temporal import TemporalModule
from latentsync.models.unet_config import UNetConfig


def pooled_group_norm(norm: nn.GroupNorm, hidden: Tensor, frames: int) -> Tensor:
    """GroupNorm whose groups take their statistics over all frames of a clip (docs/method.md#u-net).

    Args:
        hidden: (b·f, C, h, w).
    Returns: the same shape, channels-last memory.
    """
    if frames == 1:
        return group_norm(norm, hidden)
    clips = hidden.permute(0, 2, 3, 1).unflatten(0, (-1, frames)).flatten(1, 2)  # (b, f·h, w, C)
    return group_norm(norm, clips.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(_nhwc(hidden)).permute(0, 3, 1, 2)


def _nhwc(hidden: Tensor) -> tuple[int, int, int, int]:
    n, c, h, w = hidden.shape
    return n, h, w, c


class ResnetBlock(nn.Module):
    """GN → SiLU → conv → + time → GN → SiLU → conv → + shortcut."""

    def __init__(self, in_width: int, out_width: int, time_width: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_width, eps=eps)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, out_width)
        self.norm2 = nn.GroupNorm(groups, out_width, eps=eps)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_width, out_width, 1) if in_width != out_width else None

    def forward(self, hidden: Tensor, time: Tensor, frames: int) -> Tensor:
        """hidden (b·f, Cin, h, w), time (b, E) or (b·f, E), through SiLU → (b·f, Cout, h, w)."""
        inner = self.conv1(F.silu(pooled_group_norm(self.norm1, hidden, frames), inplace=True))
        shift = self.time_emb_proj(time)
        if len(shift) != len(hidden):
            shift = shift.repeat_interleave(frames, dim=0)
        inner = inner + shift[:, :, None, None]
        inner = self.conv2(F.silu(pooled_group_norm(self.norm2, inner, frames), inplace=True))
        return inner + (hidden if self.conv_shortcut is None else self.conv_shortcut(hidden))


class Downsample(nn.Module):
    """3×3 convolution with stride 2 and symmetric padding 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(hidden)


class Upsample(nn.Module):
    """Nearest enlargement to the given side, then a 3×3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        return self.conv(F.interpolate(hidden, size=tuple(size), mode="nearest"))


class Block(nn.Module):
    """What the blocks of all levels share: building their layers and running one with gradient checkpointing."""

    gradient_checkpointing: bool = False
    attentions: nn.ModuleList
    motion_modules: nn.ModuleList
    downsamplers: nn.ModuleList
    upsamplers: nn.ModuleList

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.resnets = nn.ModuleList()

    def add_layers(self, widths_in: list[int], width: int, attention: bool, motion: bool) -> None:
        """One resnet per entry of `widths_in`, each with a spatial transformer and a temporal module where asked."""
        c = self.config
        time_width = 4 * c.block_out_channels[0]
        self.resnets.extend(ResnetBlock(w, width, time_width, c.norm_num_groups, c.norm_eps) for w in widths_in)
        if attention:
            self.attentions = nn.ModuleList([spatial(c, width) for _ in widths_in])
        if motion:
            self.motion_modules = nn.ModuleList([temporal(c, width) for _ in widths_in])

    def run(self, layer: Callable[..., Tensor], *args: Any) -> Tensor:
        """Call `layer`, keeping only its inputs for the backward pass where gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, *args, use_reentrant=False)
        return layer(*args)

    def layer(self, index: int, hidden: Tensor, time: Tensor, states: Tensor | None, frames: int) -> Tensor:
        """resnet → spatial transformer → temporal module number `index`."""
        hidden = self.run(self.resnets[index], hidden, time, frames)
        if hasattr(self, "attentions"):
            hidden = self.run(self.attentions[index], hidden, states)
        if hasattr(self, "motion_modules"):
            hidden = self.run(self.motion_modules[index], hidden, frames)
        return hidden


def spatial(c: UNetConfig, width: int) -> SpatialTransformer:
    """A spatial transformer of `width`."""
    return SpatialTransformer(width, c.attention_head_dim, c.cross_attention_dim, c.norm_num_groups, c.add_audio_layer)


def temporal(c: UNetConfig, width: int) -> TemporalModule:
    """A temporal module of `width`."""
    return TemporalModule(width, c.norm_num_groups, c.motion_module_kwargs)


class DownBlock(Block):
    """One encoder level; hands back every activation that a decoder layer will want."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__(config)
        widths = config.block_out_channels
        width, before = widths[level], widths[max(level - 1, 0)]
        motion = config.has_motion(level) and not config.motion_module_decoder_only
        inputs = [before] + [width] * (config.layers_per_block - 1)
        self.add_layers(inputs, width, config.down_attention[level], motion)
        if level < len(widths) - 1:
            self.downsamplers = nn.ModuleList([Downsample(width)])

    def forward(self, hidden: Tensor, time: Tensor, states: Tensor | None, frames: int) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, time, states, frames)
            skips.append(hidden)
        if hasattr(self, "downsamplers"):
            hidden = self.downsamplers[0](hidden)
            skips.append(hidden)
        return hidden, skips


class MidBlock(Block):
    """resnet → spatial transformer → (temporal module) → resnet at the lowest side."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        width = config.block_out_channels[-1]
        self.add_layers([width, width], width, attention=False, motion=False)
        self.attentions = nn.ModuleList([spatial(config, width)])
        if config.use_motion_module and config.motion_module_mid_block:
            self.motion_modules = nn.ModuleList([temporal(config, width)])

    def forward(self, hidden: Tensor, time: Tensor, states: Tensor | None, frames: int) -> Tensor:
        hidden = self.layer(0, hidden, time, states, frames)
        return self.run(self.resnets[1], hidden, time, frames)


class UpBlock(Block):
    """One decoder level, `position` 0 = innermost; every layer takes one skip, the newest first."""

    def __init__(self, config: UNetConfig, position: int) -> None:
        super().__init__(config)
        widths = config.block_out_channels
        level = len(widths) - 1 - position
        width = widths[level]
        below, above = widths[min(level + 1, len(widths) - 1)], widths[max(level - 1, 0)]
        hiddens = [below] + [width] * config.layers_per_block
        skips = [width] * config.layers_per_block + [above]
        inputs = [a + b for a, b in zip(hiddens, skips, strict=True)]
        self.add_layers(inputs, width, config.up_attention[position], config.has_motion(level))
        if level > 0:
            self.upsamplers = nn.ModuleList([Upsample(width)])

    def step(
        self, index: int, hidden: Tensor, skip: Tensor, time: Tensor, states: Tensor | None, frames: int
    ) -> Tensor:
        """Layer `index` on the hidden channels first, the skip's second."""
        joined = torch.cat([hidden, skip], dim=1)
        return self.layer(index, joined, time, states, frames)
