"""VideoMAE v2's encoder as a feature network, under the key names of its published file (docs/method.md#trepa)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from latentsync.core.errors import WeightsError
from latentsync.models.weights import load_strict, open_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMaeConfig:
    """Shape of the encoder; the defaults are ViT-giant: 1,011,855,918 parameters with the unused head."""

    width: int = 1408
    depth: int = 40
    num_heads: int = 16
    inner: int = 6144
    patch_px: int = 14
    tubelet: int = 2
    side_px: int = 224
    num_frames: int = 16

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens in time and on each side of the picture: (8, 16)."""
        return self.num_frames // self.tubelet, self.side_px // self.patch_px


class _Attention(nn.Module):
    def __init__(self, config: VideoMaeConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        parts = functional.linear(tokens, self.qkv.weight, bias).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        return self.proj(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, config: VideoMaeConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.inner)
        self.fc2 = nn.Linear(config.inner, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class _Block(nn.Module):
    def __init__(self, config: VideoMaeConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = _Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = _Mlp(config)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class _PatchEmbed(nn.Module):
    def __init__(self, config: VideoMaeConfig) -> None:
        super().__init__()
        kernel = (config.tubelet, config.patch_px, config.patch_px)
        self.proj = nn.Conv3d(3, config.width, kernel, stride=kernel)

    def forward(self, clips: Tensor) -> Tensor:
        return self.proj(clips).flatten(2).transpose(1, 2)


class VideoMae(nn.Module):
    """A clip's features: `fc_norm` of the mean over all tokens."""

    def __init__(self, config: VideoMaeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VideoMaeConfig()
        self.patch_embed = _PatchEmbed(config)
        self.blocks = nn.ModuleList([_Block(config) for _ in range(config.depth)])
        self.fc_norm = nn.LayerNorm(config.width, eps=1e-6)
        times, side = config.grid
        table = positions(times * side * side, config.width)
        self.register_buffer("positions", table.view(times, side * side, config.width), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, F, 3, S, S) in [0, 1], S = `side_px` → (B, width). F may differ from `num_frames`: the position table is
        then interpolated along time."""
        tokens = self.patch_embed(clips.transpose(1, 2))
        times, cells = clips.shape[1] // self.config.tubelet, self.config.grid[1] ** 2
        table = self.get_buffer("positions").float()
        if times != table.shape[0]:
            flat = table.permute(1, 2, 0)  # cells and width apart: along time alone trilinear is linear
            table = functional.interpolate(flat, times, mode="linear", align_corners=False).permute(2, 0, 1)
        tokens = tokens + table.reshape(1, times * cells, -1).to(tokens)
        for block in self.blocks:
            keep = torch.is_grad_enabled() and tokens.requires_grad
            tokens = checkpoint(block, tokens, use_reentrant=False) if keep else block(tokens)
        return self.fc_norm(tokens.mean(1))


def positions(count: int, width: int) -> Tensor:
    """(count, width) float32: sines on even channels, cosines on odd ones, base 10000."""
    place = torch.arange(count, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].float()


def load_videomae(path: Path, config: VideoMaeConfig | None = None, dtype: torch.dtype = torch.float32) -> VideoMae:
    """The published file `vit_g_hybrid_pt_1200e_ssv2_ft.pth`; its classifier is left out.

    Raises: WeightsError: missing, damaged, or another network.
    """
    state = {k: v.to(dtype) for k, v in open_checkpoint(path).tensors.items() if not k.startswith("head.")}
    with torch.device("meta"):
        network = VideoMae(config)
    times, side = network.config.grid
    table = positions(times * side * side, network.config.width).view(times, side * side, -1)
    network.register_buffer("positions", table, persistent=False)
    try:
        load_strict(network, state, str(path), assign=True)
    except WeightsError as error:
        raise WeightsError(f"{error} (wanted: VideoMAE v2 ViT-giant, vit_g_hybrid_pt_1200e_ssv2_ft.pth)") from error
    return network
