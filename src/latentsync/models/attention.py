"""Attention, feed-forward and the spatial transformer: self-attention inside one frame, then listening to its audio."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentsync.models.norm import group_norm


class Attention(nn.Module):
    """Multi-head attention with the key names of the released files: `to_q`, `to_k`, `to_v`, `to_out.0`."""

    def __init__(self, width: int, context_width: int, num_heads: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=qkv_bias)
        self.to_k = nn.Linear(context_width, width, bias=qkv_bias)
        self.to_v = nn.Linear(context_width, width, bias=qkv_bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """tokens (N, L, C), context (N, K, D) or None for self-attention → (N, L, C)."""
        context = tokens if context is None else context
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.to_q(tokens), self.to_k(context), self.to_v(context))
        )
        audio_features = attend(query, key, value)
        return self.to_out[0](audio_features.transpose(1, 2).flatten(2))


PLAIN_LIMIT = 2**16
"""Queries times keys up to which the plain formula is used for training on a CPU; larger matrices take memory."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q·kᵀ / √d)·v, (N, heads, L, d).

    On a CPU the backward pass of the fused kernel takes several times as long as that of the plain formula where
    there are many short sequences (`benchmarks/attention.py`), as over time. Without gradients they are alike, and
    short sequences take less time in float32 than in bfloat16.
    """
    small = query.device.type == "cpu" and query.shape[-2] * key.shape[-2] <= PLAIN_LIMIT
    if small and query.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float()).to(query.dtype)
    if not (small and torch.is_grad_enabled()):
        return F.scaled_dot_product_attention(query, key, value)
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value)


class GatedLinear(nn.Module):
    """GEGLU: one Linear gives value and gate; result = value · gelu(gate), exact (erf) GELU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Width → 4·width (GEGLU) → width. Index 1 of `net` is the place of a dropout of 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GatedLinear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net[2](self.net[0](tokens))


class SpatialBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to the audio states (where built and given), feed-forward."""

    def __init__(self, width: int, num_heads: int, cross_width: int, has_audio: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, width, num_heads)
        if has_audio:
            self.norm2 = nn.LayerNorm(width)
            self.attn2 = Attention(width, cross_width, num_heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        self.has_audio = has_audio

    def forward(self, tokens: Tensor, states: Tensor | None) -> Tensor:
        tokens = self.attn1(self.norm1(tokens)) + tokens
        if self.has_audio and states is not None:
            tokens = self.attn2(self.norm2(tokens), states) + tokens
        return self.ff(self.norm3(tokens)) + tokens


class SpatialTransformer(nn.Module):
    """The transformer over the cells of one frame. GroupNorm here is per frame, eps 1e-6 (docs/method.md#u-net)."""

    def __init__(self, width: int, num_heads: int, cross_width: int, groups: int, has_audio: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(width, num_heads, cross_width, has_audio)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        """hidden (b·f, C, h, w), states (b·f, K, D) → (b·f, C, h, w)."""
        tokens = pointwise(self.proj_in, to_tokens(group_norm(self.norm, hidden)))
        for block in self.transformer_blocks:
            tokens = block(tokens, states)
        return from_tokens(pointwise(self.proj_out, tokens), hidden) + hidden


def to_tokens(hidden: Tensor) -> Tensor:
    """(n, C, h, w) → (n, h·w, C); a view where the memory is channels-last."""
    return hidden.permute(0, 2, 3, 1).flatten(1, 2)


def from_tokens(tokens: Tensor, like: Tensor) -> Tensor:
    """(n, h·w, C) → (n, C, h, w), a channels-last view with the sides of `like`."""
    return tokens.unflatten(1, like.shape[-2:]).permute(0, 3, 1, 2)


def pointwise(conv: nn.Conv2d, tokens: Tensor) -> Tensor:
    """Apply a 1×1 convolution to tokens (n, L, C): the same sums as one matrix product, no change of layout."""
    return F.linear(tokens, conv.weight.flatten(1), conv.bias)
