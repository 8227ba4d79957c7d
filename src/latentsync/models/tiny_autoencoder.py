"""The small autoencoder of `tiny`: 256 px to 16×16 latents and back in about two GFLOP a picture each way.

Pixels are folded into channels at the stem (pixel-unshuffle by 4) and unfolded at the head (pixel-shuffle), so that no
convolution runs at full resolution: on a CPU that is where a Stable-Diffusion-shaped autoencoder spends its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError

STEM = 4
"""Pixels folded into channels on each axis by the stem and unfolded by the head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyAutoencoderConfig:
    """Architecture and latent scale.

    Attributes:
        latent_channels: channels of a latent cell.
        widths: channels per level, finest (1/4 of the picture's side) first; each further level halves the side.
        encoder_blocks, decoder_blocks: residual blocks per level. The encoder runs twice for each frame (masked picture
            and reference), so it is the lighter one.
        latent_mean, latent_std: per-channel statistics of raw latents over the training set; `encode` standardises by
            them. None = zeros and ones.
    """

    latent_channels: int = 32
    widths: tuple[int, ...] = (48, 96, 192)
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    latent_mean: tuple[float, ...] | None = None
    latent_std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (
            not self.widths
            or min(self.widths) < 1
            or min(self.latent_channels, self.encoder_blocks, self.decoder_blocks) < 1
        ):
            raise ConfigError("widths", self.widths, "choose positive widths, channels and blocks")
        most = max(self.encoder_blocks, self.decoder_blocks, len(self.widths)), max(*self.widths, self.latent_channels)
        if most[0] > 64 or most[1] > 8192:
            raise ConfigError("widths", self.widths, "choose at most 64 levels and blocks, 8192 channels")
        for key in ("latent_mean", "latent_std"):
            values = getattr(self, key)
            if values is not None and len(values) != self.latent_channels:
                raise ConfigError(key, len(values), f"give {self.latent_channels} values")


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), 3×3, the last convolution zero at the start; no normalisation.

    Without normalisation a picture's decoding never depends on its overall statistics, so colour is not lost.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.silu(self.conv1(functional.silu(x))))


class TinyAutoencoder(nn.Module):
    """Deterministic autoencoder with standardised latents.

    `encode`: (B, 3, R, R) in [−1, 1] → (B, c, R/f, R/f), about zero mean and unit variance; `decode` is its inverse.
    f = 4·2^(levels − 1) = 16 with three levels.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TinyAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        folded = 3 * STEM * STEM
        encoder: list[nn.Module] = [nn.PixelUnshuffle(STEM), nn.Conv2d(folded, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            if level:
                encoder.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            encoder += [ResidualBlock(width) for _ in range(config.encoder_blocks)]
        encoder += [nn.SiLU(), nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)]
        decoder: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)]
        for level in reversed(range(len(widths))):
            decoder += [ResidualBlock(widths[level]) for _ in range(config.decoder_blocks)]
            if level:
                decoder += [nn.Conv2d(widths[level], 4 * widths[level - 1], 1), nn.PixelShuffle(2)]
        decoder += [nn.SiLU(), nn.Conv2d(widths[0], folded, 3, padding=1), nn.PixelShuffle(STEM)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        c = config.latent_channels
        self.register_buffer("latent_mean", torch.tensor(config.latent_mean or [0.0] * c), persistent=False)
        self.register_buffer("latent_std", torch.tensor(config.latent_std or [1.0] * c), persistent=False)

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> TinyAutoencoder:
        """Build from a plain mapping, as stored in `config.json`."""
        return cls(checked(TinyAutoencoderConfig, mapping, "autoencoder"))

    def to_config(self) -> dict[str, Any]:
        """The mapping `from_config` takes."""
        return asdict(self.config)

    def set_latent_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Fix the latent scale: raw latents minus `mean`, over `std`, per channel."""
        self.config = replace(self.config, latent_mean=tuple(mean), latent_std=tuple(std))
        self.latent_mean.copy_(torch.tensor(self.config.latent_mean))
        self.latent_std.copy_(torch.tensor(self.config.latent_std))

    @property
    def factor(self) -> int:
        """Pixels per latent cell on each axis."""
        return STEM * 2 ** (len(self.config.widths) - 1)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent cell."""
        return self.config.latent_channels

    def _per_channel(self, values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.dtype).view(1, -1, 1, 1)

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, R, R) in [−1, 1] → (B, c, R/f, R/f) standardised latents. Deterministic; `generator` is not used."""
        raw = self.encoder(pixels)
        return (raw - self._per_channel(self.latent_mean, raw)) / self._per_channel(self.latent_std, raw)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) standardised latents → (B, 3, h·f, w·f), about [−1, 1], not clamped."""
        raw = latents * self._per_channel(self.latent_std, latents) + self._per_channel(self.latent_mean, latents)
        return self.decoder(raw)
