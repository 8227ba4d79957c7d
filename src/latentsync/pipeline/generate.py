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

MARGIN = 2
"""Rows of latents decoded beyond the pasted region: what the decoder's convolutions see of them is not pasted."""


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
        self._rows = self._decoded_rows(factor)
        self._keeps = settings.keep_latents and bool((self._region[self._rows] < 1).any())

    def _decoded_rows(self, factor: int) -> slice:
        """Rows of latents that are decoded: all, or those of the pasted region and two more on either side."""
        settings = self.settings
        cells = settings.resolution // factor
        if not settings.decode_pasted:
            return slice(0, cells)
        rows = np.flatnonzero(inpaint_mask(settings.resolution, str(settings.paste_mask)).max(axis=1) > 0)
        return slice(max(0, int(rows[0]) // factor - MARGIN), min(cells, int(rows[-1]) // factor + 1 + MARGIN))

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
        net, factor = self.networks, self.networks.autoencoder.factor
        pixels = torch.from_numpy(crops).to(net.device).permute(0, 3, 1, 2) * 2 - 1
        own = self._encode(pixels) if still is None or self._keeps else None
        if still is None:
            assert own is not None
            reference = own
        else:
            picture = torch.from_numpy(still).to(net.device).permute(2, 0, 1)[None] * 2 - 1
            reference = self._encode(picture).expand(len(crops), -1, -1, -1)
        made = self._denoise(reference, self._encode(pixels * self._keep_pixels), windows, frames)
        if self._keeps and own is not None:
            made = torch.lerp(own.float(), made, self._region)
        rows = self._rows
        wanted = made[:, :, rows].to(net.dtype).contiguous(memory_format=torch.channels_last)
        decoded = (net.autoencoder.decode(wanted).float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        if decoded.shape == crops.shape:
            return np.ascontiguousarray(decoded, dtype=np.float32)
        out = crops.copy()
        out[:, rows.start * factor : rows.stop * factor] = decoded
        return out

    def _encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, R, R) in [−1, 1] → latents in the network's format."""
        net = self.networks
        return net.autoencoder.encode(pixels.to(net.dtype, memory_format=torch.channels_last))

    def _denoise(self, reference: Tensor, masked: Tensor, windows: Tensor, frames: Sequence[int]) -> Tensor:
        """Latents (F, c, h, w) float32 from latents of the references, of the masked frames, and speech."""
        net = self.networks
        windows = windows.to(net.device, net.dtype)
        count, c, h, w = reference.shape
        fixed = torch.cat([self._keep.to(net.dtype).expand(count, 1, h, w), masked, reference], dim=1)
        fixed = fixed.transpose(0, 1)[None]  # (1, 2c + 1, F, h, w)
        heard = windows[None]
        if self.guidance > 1:
            fixed = fixed.expand(2, -1, -1, -1, -1)
            heard = torch.cat([torch.zeros_like(heard), heard])
        base = reference.transpose(0, 1)[None].float()
        cache = StepCache(self.cache_interval) if self.cache_interval > 1 else None

        def denoise(x: Tensor, timestep: Tensor, _: int) -> Tensor:
            noisy = x.to(net.dtype).expand(len(fixed), -1, -1, -1, -1)
            made = net.unet(torch.cat([noisy, fixed], dim=1), timestep.to(net.device), heard, cache)
            if self.guidance > 1:
                made = guided(made[:1].float(), made[1:].float(), self.guidance)
            return made.float() + base if self.settings.residual else made

        noise = chunk_noise(self.seed, frames, c, h, w).to(net.device)
        return sample(denoise, noise, self.settings.sampler, self.steps)[0].transpose(0, 1)
