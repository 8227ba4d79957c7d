"""The denoising U-Net: pictures in space, attention over frames in time, audio by cross-attention.

Key names and shapes are those of the released checkpoints (docs/method.md#u-net); the module tree is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.blocks import Block, DownBlock, MidBlock, UpBlock, pooled_group_norm
from latentsync.models.lip_predictor import LipPredictor
from latentsync.models.unet_config import UNetConfig


@dataclass(slots=True)
class StepCache:
    """Keeps the deep activation of one denoising run so that only every `interval`-th step computes it.

    Neighbouring steps change the deep layers little. On the steps between, the network runs its stem, the last layer of
    the last decoder block and its head only. One cache serves one chunk; call `reset` (or take a new one) for the next.

    Attributes:
        interval: steps 0, interval, 2·interval, … are computed in full; 1 = all of them.
        hidden: the activation before the last decoder layer, (b·f, C, h, w), None before the first step.
        step: steps done so far.
    """

    interval: int
    hidden: Tensor | None = None
    step: int = 0

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"interval {self.interval}, expected 1 or more")

    def reset(self) -> None:
        """Forget everything: the next step is computed in full."""
        self.hidden, self.step = None, 0

    def recall(self) -> Tensor | None:
        """The stored activation where this step may be light, else None."""
        return self.hidden if self.step % self.interval else None

    def keep(self, hidden: Tensor) -> None:
        """Store the activation of a full step (nothing is stored where no step is light)."""
        self.hidden = hidden if self.interval > 1 else None


class TimeEmbedding(nn.Module):
    """Linear → SiLU → Linear, on the sinusoid of the timestep or on a frame's tokens side by side."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, time_width)
        self.linear_2 = nn.Linear(time_width, time_width)

    def forward(self, wave: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(wave)))


class UNet(nn.Module):
    """Audio-conditioned video U-Net. Build with `UNet.from_config`."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        levels = range(len(widths))
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], 4 * widths[0])
        if config.audio_embedding_tokens:
            audio_features = config.audio_embedding_tokens * config.cross_attention_dim
            if config.audio_code:
                code, points = config.audio_code, config.audio_lip_points
                self.lip_predictor = LipPredictor(
                    audio_features, 4 * widths[0], code, config.audio_map_channels, widths[0], points
                )
            else:
                self.audio_embedding = TimeEmbedding(audio_features, 4 * widths[0])
                nn.init.zeros_(self.audio_embedding.linear_2.weight)
                nn.init.zeros_(self.audio_embedding.linear_2.bias)
        self.down_blocks = nn.ModuleList([DownBlock(config, level) for level in levels])
        self.mid_block = MidBlock(config)
        self.up_blocks = nn.ModuleList([UpBlock(config, position) for position in levels])
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], eps=config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        for conv, is_zero in (
            (self.conv_in, config.zero_initialize_conv_in),
            (self.conv_out, config.zero_initialize_conv_out),
        ):
            if is_zero:
                nn.init.zeros_(conv.weight)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any] | UNetConfig) -> UNet:
        """Build from the `model` section of a released YAML file (field names: docs/method.md#u-net).

        Raises:
            ConfigError: an unknown key, or a value that is not understood.
        """
        return cls(mapping if isinstance(mapping, UNetConfig) else UNetConfig.from_mapping(mapping))

    @property
    def _decoder(self) -> list[UpBlock]:
        return cast("list[UpBlock]", list(self.up_blocks))

    def set_gradient_checkpointing(self, is_on: bool = True) -> None:
        """Trade time for memory in training: every resnet, transformer and temporal module is computed twice."""
        for module in self.modules():
            if isinstance(module, Block):
                module.gradient_checkpointing = is_on

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        states: Tensor | None = None,
        cache: StepCache | None = None,
        code: Tensor | None = None,
    ) -> Tensor:
        """Predict the noise (or what the model was trained to predict).

        Args:
            sample: (B, C, F, h, w) in the model's dtype, channels as the model was trained (docs/method.md#u-net).
            timestep: one number for all, or (B,); any real value.
            states: audio windows, (B, F, K, D) or folded (B·F, K, D) batch-major; None skips the audio attention.
            cache: see `StepCache`. Full steps give bit for bit what no cache gives.
            code: (B, F, audio_code) instead of what the lip predictor of a small model makes of the states
                (`models.lip_predictor`).
        Returns: (B, C_out, F, h, w), the dtype of the weights.
        Raises:
            ValueError: a shape does not fit.
        """
        batch, _, frames, _, _ = self._check(sample)
        if states is not None:
            states = self._fold_states(states, batch, frames)
        embedded = self._embed_time(timestep, batch)
        hidden = self.conv_in(rearrange(sample, "b c f h w -> (b f) h w c").permute(0, 3, 1, 2))
        if self.config.audio_embedding_tokens and states is not None:
            tokens, embedded = states.flatten(1), embedded.repeat_interleave(frames, dim=0)
            if self.config.audio_code:
                predicted, picture = self.lip_predictor(
                    tokens, tuple(hidden.shape[-2:]), None if code is None else code.flatten(0, 1)
                )
                embedded, hidden = embedded + predicted, hidden + picture
            else:
                embedded = embedded + self.audio_embedding(tokens)
        time = F.silu(embedded)
        deep = cache.recall() if cache is not None else None
        stem = hidden
        if deep is None:
            deep = self._deep(hidden, time, states, frames)
            if cache is not None:
                cache.keep(deep)
        elif deep.shape[0] != stem.shape[0] or deep.shape[-2:] != stem.shape[-2:]:
            raise ValueError(f"the cache holds {tuple(deep.shape)}, the sample needs {tuple(stem.shape)}: reset it")
        last = self._decoder[-1]
        hidden = last.step(len(last.resnets) - 1, deep, stem, time, states, frames)
        if cache is not None:
            cache.step += 1
        hidden = self.conv_out(F.silu(pooled_group_norm(self.conv_norm_out, hidden, frames), inplace=True))
        return rearrange(hidden, "(b f) c h w -> b c f h w", f=frames)

    def _deep(self, hidden: Tensor, time: Tensor, states: Tensor | None, frames: int) -> Tensor:
        """Everything between the stem and the last decoder layer."""
        skips = [hidden]
        for down in self.down_blocks:
            hidden, more = down(hidden, time, states, frames)
            skips += more
        hidden = self.mid_block(hidden, time, states, frames)
        for up in self._decoder:
            for index in range(len(up.resnets)):
                if len(skips) == 1:
                    return hidden
                hidden = up.step(index, hidden, skips.pop(), time, states, frames)
            hidden = up.upsamplers[0](hidden, skips[-1].shape[-2:])
        raise AssertionError("unreachable: the stem's skip belongs to the last layer")

    def _embed_time(self, timestep: Tensor | float, batch: int) -> Tensor:
        weight = self.time_embedding.linear_1.weight
        time = torch.as_tensor(timestep, device=weight.device).reshape(-1).expand(batch)
        wave = sinusoid(time, weight.shape[1], self.config.flip_sin_to_cos, self.config.freq_shift)
        return self.time_embedding(wave.to(weight.dtype))

    def _check(self, sample: Tensor) -> torch.Size:
        if sample.ndim != 5 or sample.shape[1] != self.config.in_channels:
            raise ValueError(f"sample {tuple(sample.shape)}, expected (B, {self.config.in_channels}, F, h, w)")
        longest = self.config.motion_module_kwargs.temporal_position_encoding_max_len
        motion = self.config.use_motion_module and self.config.motion_module_kwargs.temporal_position_encoding
        if motion and sample.shape[2] > longest:
            raise ValueError(f"{sample.shape[2]} frames, but the temporal layers know {longest} positions")
        return sample.shape

    def _fold_states(self, states: Tensor, batch: int, frames: int) -> Tensor:
        folded = states.flatten(0, 1) if states.ndim == 4 else states
        if folded.ndim != 3 or folded.shape[0] != batch * frames:
            raise ValueError(f"states {tuple(states.shape)}, expected ({batch}, {frames}, K, D) or folded")
        return folded


def sinusoid(time: Tensor, width: int, flip_sin_to_cos: bool, freq_shift: float) -> Tensor:
    """Sinusoidal embedding, max period 10000, computed in float32.

    Args:
        time: (B,) any real dtype.
        flip_sin_to_cos: cosine half first.
        freq_shift: taken off the number of frequencies in the exponent's denominator.
    Returns: (B, width) float32.
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=time.device)
    angle = time.float()[:, None] * torch.exp(-math.log(10000.0) * steps / (half - freq_shift))
    parts = (angle.cos(), angle.sin()) if flip_sin_to_cos else (angle.sin(), angle.cos())
    return F.pad(torch.cat(parts, dim=-1), (0, width % 2))
