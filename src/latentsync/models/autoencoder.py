"""What the pipeline asks of an autoencoder, and the Stable Diffusion one behind that interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

# config.json of stabilityai/sd-vae-ft-mse: 83,653,863 parameters, 248 tensors (docs/method.md#autoencoder).
SD_CONFIG: dict[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


@runtime_checkable
class Autoencoder(Protocol):
    """Pixels to scaled latents and back. The autoencoder owns its latent scale.

    Attributes:
        factor: pixels per latent cell on each axis.
        latent_channels: channels of a latent cell.
    """

    @property
    def factor(self) -> int: ...

    @property
    def latent_channels(self) -> int: ...

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, R, R) in [-1, 1] → (B, c, R/factor, R/factor), about unit variance."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) scaled latents → (B, 3, h·factor, w·factor), about [-1, 1], not clamped."""
        ...


class SdAutoencoder(nn.Module):
    """diffusers' `AutoencoderKL` with its latent scale (0.18215 where the config names none, shift 0)."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        values = {key: value for key, value in (config or SD_CONFIG).items() if not key.startswith("_")}
        self.network: Any = AutoencoderKL(**values)
        self.requires_grad_(False)

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> SdAutoencoder:
        """Build from a diffusers `config.json`, random weights, nothing downloaded."""
        return cls(mapping)

    def to_mapping(self) -> dict[str, Any]:
        """The diffusers `config.json` of the network."""
        config = dict(self.network.config)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items() if not key.startswith("_")}

    @property
    def factor(self) -> int:
        """Pixels per latent cell on each axis: 8 for the released models."""
        return int(2 ** (len(self.network.config["block_out_channels"]) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of a latent cell."""
        return int(self.network.config["latent_channels"])

    @property
    def scale(self) -> float:
        """Latents are the posterior times this."""
        return float(self.network.config["scaling_factor"])

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, R, R) in [-1, 1] → (B, c, R/8, R/8): a sample of the posterior with `generator`, its mode without."""
        posterior = self.network.encode(pixels).latent_dist
        return (posterior.mode() if generator is None else posterior.sample(generator)) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) scaled latents → (B, 3, 8·h, 8·w), about [-1, 1], not clamped."""
        return self.network.decode(latents / self.scale).sample
