"""Temporal ("motion") modules: self-attention over the frames of a chunk, at every cell on its own."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.attention import Attention, FeedForward, to_tokens
from latentsync.models.norm import group_norm
from latentsync.models.unet_config import MotionConfig


class PositionTable(nn.Module):
    """Interleaved sines (even channels) and cosines (odd channels), base 10000, kept as the persistent buffer `pe`."""

    pe: Tensor

    def __init__(self, width: int, max_frames: int) -> None:
        super().__init__()
        # Computed on the CPU whatever the ambient device: `arange` on the meta device loads sympy (2.5 s).
        position = torch.arange(max_frames, dtype=torch.float32, device="cpu")[:, None]
        pair = torch.arange(0, width, 2, dtype=torch.float32, device="cpu")
        angle = position * torch.exp(pair * (-math.log(10000.0) / width))
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None, :, :width]
        table = torch.empty(1, max_frames, width)
        table.copy_(waves)
        self.register_buffer("pe", table)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (N, f, C) → the same with the first f rows of the table added."""
        return tokens + self.pe[:, : tokens.shape[1]].to(tokens.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames; the position table is added to what Q, K and V see."""

    def __init__(self, width: int, config: MotionConfig) -> None:
        super().__init__(width, width, config.num_attention_heads)
        if config.temporal_position_encoding:
            self.pos_encoder: nn.Module = PositionTable(width, config.temporal_position_encoding_max_len)
        else:
            self.pos_encoder = nn.Identity()

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(self.pos_encoder(tokens), context)


class TemporalBlock(nn.Module):
    """Pre-norm temporal attentions, then a feed-forward. tokens (N, f, C) → (N, f, C)."""

    def __init__(self, width: int, config: MotionConfig) -> None:
        super().__init__()
        kinds = config.attention_block_types
        self.attention_blocks = nn.ModuleList([TemporalAttention(width, config) for _ in kinds])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in kinds])
        self.ff = FeedForward(width)
        self.ff_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            tokens = attention(norm(tokens)) + tokens
        return self.ff(self.ff_norm(tokens)) + tokens


class TemporalTransformer(nn.Module):
    """Per-frame GroupNorm (eps 1e-6), Linear in, blocks over frames, Linear out, plus the input.

    Source: docs/method.md#u-net.
    """

    def __init__(self, width: int, groups: int, config: MotionConfig) -> None:
        super().__init__()
        heads = config.num_attention_heads
        inner = width // heads // config.temporal_attention_dim_div * heads
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, inner)
        self.transformer_blocks = nn.ModuleList(
            [TemporalBlock(inner, config) for _ in range(config.num_transformer_block)]
        )
        self.proj_out = nn.Linear(inner, width)
        if config.zero_initialize:
            nn.init.zeros_(self.proj_out.weight)
            nn.init.zeros_(self.proj_out.bias)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """hidden (b·f, C, h, w) → (b·f, C, h, w)."""
        high, wide = hidden.shape[-2:]
        tokens = self.proj_in(to_tokens(group_norm(self.norm, hidden)))
        tokens = rearrange(tokens, "(b f) l c -> (b l) f c", f=frames)  # the one change of layout, shared by the blocks
        for block in self.transformer_blocks:
            tokens = block(tokens)
        out = rearrange(self.proj_out(tokens), "(b h w) f c -> (b f) h w c", h=high, w=wide)
        return out.permute(0, 3, 1, 2) + hidden


class TemporalModule(nn.Module):
    """Holder that gives the keys their released prefix `temporal_transformer.`."""

    def __init__(self, width: int, groups: int, config: MotionConfig) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, groups, config)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        return self.temporal_transformer(hidden, frames)
