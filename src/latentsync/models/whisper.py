"""The encoder of Whisper (Radford et al., 2022, arXiv 2212.04356), with transformers' names of its weights.

Own code, since importing transformers' takes longer than torch and everything else together; the tests compare the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_STD = 0.02
"""Standard deviation of random weights, as transformers begins."""


class SelfAttention(nn.Module):
    """Multi-head attention of all positions to all; keys have no bias."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, D) → the same shape."""
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)) with exact GELU."""

    def __init__(self, width: int, num_heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, D) → the same shape."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """Two convolutions, the second with stride 2, positions added, transformer layers, a last layer norm."""

    def __init__(
        self, mel_bins: int, positions: int, width: int, num_layers: int, num_heads: int, feed_forward: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(positions, width)
        self.layers = nn.ModuleList(EncoderLayer(width, num_heads, feed_forward) for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(width)
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Conv1d)):
                nn.init.normal_(part.weight, std=INITIAL_STD)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, mel: Tensor) -> list[Tensor]:
        """(B, bins, 2P) → num_layers + 2 times (B, P, D): what enters the first layer, what each layer gives, and the
        last of them through the layer norm."""
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2) + self.embed_positions.weight
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return [*states, self.layer_norm(states[-1])]


def sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's position table: (positions, width) float32, sines of width/2 log-spaced frequencies, then cosines.

    Source: docs/method.md#audio-features: increment ln(10000) / (width/2 − 1).
    """
    half = width // 2
    rates = torch.exp(-torch.log(torch.tensor(10000.0, dtype=torch.float64)) / (half - 1) * torch.arange(half))
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
