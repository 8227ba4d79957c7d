"""SyncNet: does this mouth say this sound? Two mirror encoders whose unit vectors meet where sound and lips agree.

Key names and shapes are those of the released StableSyncNet (docs/method.md#stablesyncnet); the module tree is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from latentsync.config.checked import refuse_unknown
from latentsync.core.errors import ConfigError
from latentsync.models.attention import Attention, FeedForward, from_tokens, pointwise, to_tokens

GROUPS = 32
EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """One encoder.

    Attributes:
        in_channels: 1 for mel, 3·F (pixels) or c·F (latents) for frames stacked frame-major on channels.
        block_out_channels: width of each stage.
        downsample_factors: of each stage, one number or [height, width]; 1 = keeps its size.
        attn_blocks: per stage, is there a self-attention block after the residual one? Empty = nowhere.
        dropout: inside the residual blocks, while training.
    """

    in_channels: int
    block_out_channels: tuple[int, ...]
    downsample_factors: tuple[int | tuple[int, int], ...]
    attn_blocks: tuple[bool, ...] = ()
    dropout: float = 0.0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], key: str) -> EncoderConfig:
        """Read `audio_encoder` or `visual_encoder` of a released file; missing attention flags mean none."""
        values = dict(mapping)
        refuse_unknown(values, [field.name for field in fields(cls)], f"model.{key}")
        for name in ("in_channels", "block_out_channels", "downsample_factors"):
            if name not in values:
                raise ConfigError(f"model.{key}.{name}", None, "add this key")
        widths = tuple(values["block_out_channels"])
        factors = tuple(tuple(f) if isinstance(f, (list, tuple)) else f for f in values["downsample_factors"])
        flags = tuple(bool(flag) for flag in values.get("attn_blocks") or (False,) * len(widths))
        for name, given in (("downsample_factors", factors), ("attn_blocks", flags)):
            if len(given) != len(widths):
                raise ConfigError(f"model.{key}.{name}", list(given), f"give {len(widths)} entries, one per stage")
        for width in widths:
            if width % GROUPS:
                raise ConfigError(f"model.{key}.block_out_channels", list(widths), f"choose multiples of {GROUPS}")
        return cls(
            in_channels=int(values["in_channels"]),
            block_out_channels=widths,
            downsample_factors=factors,
            attn_blocks=flags,
            dropout=float(values.get("dropout", 0.0)),
        )


class ResidualStage(nn.Module):
    """GN → SiLU → conv → GN → SiLU → dropout → conv, plus shortcut; then a strided convolution where it shrinks."""

    def __init__(self, in_width: int, width: int, factor: int | tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_width, eps=EPS)
        self.conv1 = nn.Conv2d(in_width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.conv_shortcut = nn.Conv2d(in_width, width, 1) if in_width != width else None
        stride = (factor, factor) if isinstance(factor, int) else factor
        self.downsample_conv = nn.Conv2d(width, width, 3, stride=stride) if stride != (1, 1) else None
        self.padding = padding_for(stride)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(hidden)))
        inner = self.conv2(self.dropout(F.silu(self.norm2(inner))))
        hidden = inner + (hidden if self.conv_shortcut is None else self.conv_shortcut(hidden))
        if self.downsample_conv is not None:
            hidden = self.downsample_conv(F.pad(hidden, self.padding))
        return hidden


def padding_for(stride: tuple[int, int]) -> tuple[int, int, int, int]:
    """Zeros at (left, right, top, bottom) before a 3×3 convolution with `stride` (height, width).

    Source: docs/method.md#stablesyncnet.
    """
    if stride[0] == 1:
        return 0, 1, 1, 1
    if stride[1] == 1:
        return 1, 1, 0, 1
    return 0, 1, 0, 1


class AttentionStage(nn.Module):
    """GroupNorm, 1×1 in, one pre-norm transformer block with biased projections, 1×1 out, plus the input."""

    def __init__(self, width: int, num_heads: int = 8) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.conv_in = nn.Conv2d(width, width, 1)
        self.norm2 = nn.LayerNorm(width)
        self.attn = Attention(width, width, num_heads, qkv_bias=True)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        self.conv_out = nn.Conv2d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        tokens = pointwise(self.conv_in, to_tokens(self.norm1(hidden)))
        tokens = self.attn(self.norm2(tokens)) + tokens
        tokens = self.ff(self.norm3(tokens)) + tokens
        return from_tokens(pointwise(self.conv_out, tokens), hidden) + hidden


class Encoder(nn.Module):
    """(B, C, H, W) → (B, D), not negative: the last layer is a ReLU."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.block_out_channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for out, factor, has_attention in zip(
            config.block_out_channels, config.downsample_factors, config.attn_blocks, strict=True
        ):
            self.down_blocks.append(ResidualStage(width, out, factor, config.dropout))
            if has_attention:
                self.down_blocks.append(AttentionStage(out))
            width = out
        self.norm_out = nn.GroupNorm(GROUPS, width, eps=EPS)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv_in(hidden)
        for block in self.down_blocks:
            hidden = block(hidden)
        return F.relu(self.norm_out(hidden)).flatten(1)


class SyncNet(nn.Module):
    """Judge of audio-visual sync. Build with `SyncNet.from_config`."""

    def __init__(self, audio: EncoderConfig, visual: EncoderConfig) -> None:
        super().__init__()
        self.audio_config, self.visual_config = audio, visual
        self.audio_encoder = Encoder(audio)
        self.visual_encoder = Encoder(visual)

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> SyncNet:
        """Build from the `model` section of a released SyncNet YAML file (`audio_encoder`, `visual_encoder`).

        Raises:
            ConfigError: a key is unknown or missing, or lists differ in length.
        """
        refuse_unknown(mapping, ("audio_encoder", "visual_encoder"), "model")
        parts = {}
        for name in ("audio_encoder", "visual_encoder"):
            if name not in mapping:
                raise ConfigError(f"model.{name}", None, "add this section")
            parts[name] = EncoderConfig.from_mapping(mapping[name], name)
        return cls(parts["audio_encoder"], parts["visual_encoder"])

    def to_mapping(self) -> dict[str, Any]:
        """Plain dict that `from_config` reads back."""
        return {"audio_encoder": _plain(self.audio_config), "visual_encoder": _plain(self.visual_config)}

    def forward(self, frames: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both sides; their dot product is the cosine, in [0, 1].

        Args:
            frames: (B, 3·F, H, W) pixels in [-1, 1] or (B, c·F, h, w) latents, frame-major on the channel axis.
            mel: (B, 1, 80, T) from `syncnet_mel`, T = ceil(16·F/5).
        Returns: (visual, audio), each (B, D), unit vectors without negative entries.
        """
        visual = F.normalize(self.visual_encoder(frames), dim=1)
        audio = F.normalize(self.audio_encoder(mel), dim=1)
        return visual, audio


def _plain(config: EncoderConfig) -> dict[str, Any]:
    def lists(value: object) -> object:
        return [lists(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value

    return {key: lists(value) for key, value in asdict(config).items()}
