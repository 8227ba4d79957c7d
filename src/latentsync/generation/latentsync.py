"""The paper's sampler on one page: audio-conditioned latent diffusion of 16 frames at a time (arXiv 2412.09262).

    crop ── mask ── encode ─┐
    crop ──────── encode ───┴─ [noise, mask, masked, reference] ── U-Net × steps, guided by speech ── decode ── crop

Every frame is its own reference. Noise: `diffusion.noise`. Input order: `generation.conditioning`. Schedule, steps and
guidance: `diffusion.sampling`. Mask: `faces.masks`. Training minimises the error of the same prediction from the same
input (`training.tasks.unet.task.task.objective`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentsync.config.options import SyncOptions
from latentsync.core.progress import StopFlag, check, never
from latentsync.core.values import AlignedFace, Float
from latentsync.diffusion import chunk_noise, sample
from latentsync.diffusion.sampling import guided
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.generation.conditioning import conditioning, unet_input, with_null_audio
from latentsync.generation.networks import (
    Networks,
    OverlapLatents,
    fingerprint,
    require_channels,
    to_crops,
    to_pixels,
)
from latentsync.generation.protocol import ChunkInputs, TrackReferences
from latentsync.generation.settings import ModelSettings
from latentsync.models.unet import StepCache


class Encoded(NamedTuple):
    """A chunk whose pictures are encoded: latents (F, c, h, w) of the frames without mouths and of the frames."""

    inputs: ChunkInputs
    masked: Tensor
    reference: Tensor


class LatentSyncSampler:
    """See `generation.protocol.MouthSampler`."""

    reference_frames = 0

    def __init__(
        self, networks: Networks, settings: ModelSettings, options: SyncOptions, stop: StopFlag = never
    ) -> None:
        """Args: stop: asked before every step and before decoding: on a CPU a chunk can take half an hour.
        Raises: WeightsError: networks that do not belong together.
        """
        self.networks, self.settings, self._stop = networks, settings, stop
        self.steps = options.steps or settings.sampler.steps
        self.guidance = settings.sampler.guidance if options.guidance is None else options.guidance
        self.seed, self.cache_interval = options.seed, options.block_cache_interval
        require_channels(networks, num_references=1, outputs=(networks.autoencoder.latent_channels,))
        self.mask: Float = inpaint_mask(settings.resolution, settings.mask)
        keep = 1 - latent_mask(self.mask, networks.autoencoder.factor)
        self._keep = torch.from_numpy(keep).to(networks.device, networks.dtype)
        self._keep_pixels = torch.from_numpy(1 - self.mask).to(networks.device)
        overlap = settings.overlap_frames if options.overlap_frames is None else options.overlap_frames
        self._masked = OverlapLatents(overlap if networks.device.type == "cpu" else 0)

    def choose_references(
        self, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], spacing: int
    ) -> TrackReferences:
        """None are taken: every frame is its own."""
        raise ValueError("the paper's sampler takes no reference frames of a track")

    @torch.no_grad()
    def prepare(self, inputs: ChunkInputs) -> Encoded:
        """Encode the frames, with and without their mouths."""
        reference = self._encode(to_pixels(inputs.crops, self.networks.device))
        return Encoded(inputs, self._masked.encoded(inputs.crops, inputs.frames, self._encode_masked), reference)

    @torch.no_grad()
    def finish(self, prepared: Encoded) -> Float:
        """Denoise the mouths and decode them."""
        net = self.networks
        latents = self._denoise(prepared)
        check(self._stop)
        wanted = latents.to(net.dtype).contiguous(memory_format=torch.channels_last)
        return np.ascontiguousarray(to_crops(net.autoencoder.decode(wanted)), dtype=np.float32)

    def _denoise(self, prepared: Encoded) -> Tensor:
        """Clean latents (F, c, h, w) float32."""
        net, (inputs, masked, reference) = self.networks, prepared
        audio = inputs.audio_features.to(net.device, net.dtype)[None]
        fixed = conditioning(self._keep, _in_time(masked), _in_time(reference))
        if self.guidance > 1:
            fixed, audio = fixed.expand(2, -1, -1, -1, -1), with_null_audio(audio)
        cache = StepCache(self.cache_interval) if self.cache_interval > 1 else None

        def denoise(x: Tensor, timestep: Tensor, _: int) -> Tensor:
            check(self._stop)
            noisy = x.to(net.dtype).expand(len(fixed), -1, -1, -1, -1)
            predicted = net.unet(unet_input(noisy, fixed), timestep.to(net.device), audio, cache)
            if self.guidance > 1:
                predicted = guided(predicted[:1].float(), predicted[1:].float(), self.guidance)
            return predicted

        noise = chunk_noise(self.seed, inputs.frames, *masked.shape[1:]).to(net.device)
        return sample(denoise, noise, self.settings.sampler, self.steps)[0].transpose(0, 1)

    def _encode_masked(self, crops: Float) -> Tensor:
        return self._encode(to_pixels(crops, self.networks.device).mul_(self._keep_pixels))

    def _encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, R, R) in [−1, 1] → (n, c, h, w) in the network's number format."""
        ready = pixels.to(self.networks.dtype).contiguous(memory_format=torch.channels_last)
        return self.networks.autoencoder.encode(ready)

    def identity(self) -> str:
        """See `MouthSampler`."""
        own = f"{self.steps} {self.guidance} {self.seed} {self.cache_interval} {self.settings}"
        return f"{own} {fingerprint(self.networks)}"


def _in_time(latents: Tensor) -> Tensor:
    """(F, c, h, w) → (1, c, F, h, w)."""
    return latents.transpose(0, 1)[None]
