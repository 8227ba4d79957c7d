"""Latents, denoising and decoding: from the crops of a chunk and what is heard to the crops with the new mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.values import Float
from latentsync.diffusion import chunk_noise, sample
from latentsync.diffusion.sampling import guided
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.unet import StepCache, UNet
from latentsync.pipeline.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Networks:
    """The loaded networks of one model, on one device."""

    unet: UNet
    autoencoder: Autoencoder
    listener: nn.Module
    device: torch.device
    dtype: torch.dtype


class Generator:
    """Makes mouths. Holds no state from one chunk to the next."""

    def __init__(self, networks: Networks, settings: ModelSettings, options: SyncOptions) -> None:
        """Raises: ConfigError, WeightsError: options or networks that do not fit the model."""
        self.networks, self.settings = networks, settings
        self.steps = options.steps or settings.sampler.steps
        self.guidance = settings.sampler.guidance if options.guidance is None else options.guidance
        if options.sampler not in ("auto", settings.sampler.kind):
            raise ConfigError("sampler", options.sampler, f"this model is sampled by {settings.sampler.kind!r}")
        self.seed, self.cache_interval = options.seed, options.block_cache_interval
        autoencoder, unet = networks.autoencoder, networks.unet
        wanted = 3 * autoencoder.latent_channels + 1
        if unet.config.in_channels != wanted:
            raise WeightsError(
                f"the U-Net takes {unet.config.in_channels} channels, the autoencoder makes latents for {wanted}: "
                "they are not of one model. Use a complete model folder"
            )
        mask = inpaint_mask(settings.resolution, settings.mask)
        self.mask: Float = mask
        factor = autoencoder.factor
        self._keep_pixels = torch.from_numpy(1 - mask).to(networks.device)
        self._keep = torch.from_numpy(1 - latent_mask(mask, factor)).to(networks.device)
        touched = functional.max_pool2d(torch.from_numpy(mask)[None, None], factor)
        # decoding a cell looks at its neighbours, so they are generated too
        self._region = functional.max_pool2d(touched, 3, stride=1, padding=1)[0, 0].to(networks.device)

    @torch.no_grad()
    def __call__(self, crops: Float, windows: Tensor, frames: Sequence[int], still: Float | None = None) -> Float:
        """Generate one set of crops.

        Args:
            crops: (F, R, R, 3) float32 in [0, 1].
            windows: (F, K, D) what is heard.
            frames: F indices in the video; they choose the noise.
            still: (R, R, 3), one reference for all frames; None = each frame is its own.
        Returns: (F, R, R, 3) float32 in [0, 1]; only the masked part is meant to be used.
        """
        net = self.networks
        pixels = torch.from_numpy(crops).to(net.device).permute(0, 3, 1, 2) * 2 - 1
        own = net.autoencoder.encode(pixels.to(net.dtype))
        reference = own
        if still is not None:
            picture = torch.from_numpy(still).to(net.device).permute(2, 0, 1)[None] * 2 - 1
            reference = net.autoencoder.encode(picture.to(net.dtype)).expand_as(own)
        masked = net.autoencoder.encode((pixels * self._keep_pixels).to(net.dtype))
        made = self._denoise(reference, masked, windows.to(net.device, net.dtype), frames)
        if self.settings.keep_latents:
            made = torch.lerp(own.float(), made, self._region)
        decoded = net.autoencoder.decode(made.to(net.dtype)).float()
        out = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return np.asarray(out, dtype=np.float32)

    def _denoise(self, reference: Tensor, masked: Tensor, windows: Tensor, frames: Sequence[int]) -> Tensor:
        """Latents (F, c, h, w) float32 from latents of the frames, of the masked frames, and speech."""
        net = self.networks
        count, c, h, w = reference.shape
        fixed = torch.cat([self._keep.to(net.dtype).expand(count, 1, h, w), masked, reference], dim=1)
        fixed = fixed.transpose(0, 1)[None]  # (1, 2c + 1, F, h, w)
        heard = windows[None]
        if self.guidance > 1:
            fixed = fixed.expand(2, -1, -1, -1, -1)
            heard = torch.cat([torch.zeros_like(heard), heard])
        cache = StepCache(self.cache_interval) if self.cache_interval > 1 else None

        def denoise(x: Tensor, timestep: Tensor, _: int) -> Tensor:
            noisy = x.to(net.dtype).expand(len(fixed), -1, -1, -1, -1)
            made = net.unet(torch.cat([noisy, fixed], dim=1), timestep.to(net.device), heard, cache)
            return guided(made[:1].float(), made[1:].float(), self.guidance) if self.guidance > 1 else made

        noise = chunk_noise(self.seed, frames, c, h, w).to(net.device)
        return sample(denoise, noise, self.settings.sampler, self.steps)[0].transpose(0, 1)
