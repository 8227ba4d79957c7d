"""The small model's sampler: reference frames warped to each frame's pose and lips, one residual step.

    first frames of a track ── a closed and an open mouth ── turned as the head is ── lips where speech wants them ─┐
    crop ── mask ── encode ─────────────────────────────── [noise, mask, masked, references] ── U-Net ── + reference
                                                                       ── decode ── teeth colour ── lost detail ── crop

See docs/method.md for how it differs from the paper's, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.progress import StopFlag, check, never
from latentsync.core.values import AlignedFace, Float
from latentsync.diffusion import chunk_noise, sample
from latentsync.diffusion.sampling import guided
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.generation.conditioning import conditioning, generated_cells, unet_input, with_null_audio
from latentsync.generation.networks import (
    Networks,
    OverlapLatents,
    fingerprint,
    require_channels,
    to_crops,
    to_pixels,
)
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.detail import DetailResidual
from latentsync.generation.tiny.lip_warp import NUM_POINTS
from latentsync.generation.tiny.pose_warp import key_frames
from latentsync.generation.tiny.references import (
    REFERENCE_FRAMES,
    ChunkReferences,
    ReferenceMaps,
    TrackReferences,
)
from latentsync.generation.tiny.residual import compose_residual, output_channels
from latentsync.generation.tiny.teeth_colour import TeethColourGuard
from latentsync.generation.tiny.window import LatentWindow
from latentsync.models.unet import StepCache

KEY_FRAME_WAY = 1 / 256
"""A warped reference is encoded anew where the mouth in it has gone so far, in crop sides; the latents of frames
between are mixed. One pixel at 256: see studies/pose_warp_encoding.py."""
KEY_FRAME_WAY_OTHERS = 3 / 256
"""The same of the references after the first, of which less is seen."""
SAME_PLACE = 0.25 / 256
"""One serves a chunk in which the mouth stays within so much of its place."""


class Encoded(NamedTuple):
    """A chunk whose pictures are encoded; see `TinySampler`.

    Attributes:
        references: with the lips' targets, where lips are warped. maps: of them, where they are warped.
        latents: (F, n·c, h, w) of the references. masked: (F, c, h, w) of the frames without their mouths.
    """

    inputs: ChunkInputs
    references: ChunkReferences
    maps: ReferenceMaps | None
    latents: Tensor
    masked: Tensor


class TinySampler:
    """See `generation.protocol.MouthSampler`."""

    reference_frames = REFERENCE_FRAMES

    def __init__(
        self, networks: Networks, settings: ModelSettings, options: SyncOptions, stop: StopFlag = never
    ) -> None:
        """Args: stop: asked before every step and before decoding.
        Raises: WeightsError: networks that do not fit the model's settings. ConfigError: another number of steps.
        """
        if settings.tiny is None:
            raise ValueError("the model's settings have no part `tiny`")
        self.networks, self.settings, self.tiny, self._stop = networks, settings, settings.tiny, stop
        self.steps = settings.sampler.steps
        if options.steps not in (None, self.steps):
            raise ConfigError("steps", options.steps, f"leave it out: this model was trained for {self.steps} step")
        self.guidance = settings.sampler.guidance if options.guidance is None else options.guidance
        self.seed, self.cache_interval = options.seed, options.block_cache_interval
        autoencoder, device = networks.autoencoder, networks.device
        outputs = output_channels(autoencoder.latent_channels, self.tiny.mixes_references)
        require_channels(networks, self.tiny.num_references, outputs)
        if self.tiny.warp == "lips":
            _require_lip_motion(networks)
        mask: Float = inpaint_mask(settings.resolution, settings.mask)
        self.mask = mask
        factor = autoencoder.factor
        keep = torch.from_numpy(1 - latent_mask(mask, factor)).to(device)
        region = generated_cells(torch.from_numpy(mask), factor).to(device)
        try:
            self._window = LatentWindow.of(self.tiny.window, len(region))
        except ValueError as error:
            raise WeightsError(f"the model's settings cannot be used: {error}") from error
        self._keep, self._region = self._window.cut(keep).to(networks.dtype), self._window.cut(region)
        self._looked_at = self._window.around(len(region)).pixels(factor)
        self._keep_pixels = torch.from_numpy(1 - mask[self._looked_at]).to(device)
        self._inside = self._window.pixels(factor)
        overlap = settings.overlap_frames if options.overlap_frames is None else options.overlap_frames
        self._masked = OverlapLatents(overlap if device.type == "cpu" else 0)
        self._keeps = self.tiny.keep_latents and bool((self._region < 1).any())
        self._teeth = TeethColourGuard() if self.tiny.teeth_colour_guard else None
        self._detail = DetailResidual(self._rendered, self._inside, factor) if self.tiny.detail_residual else None

    def choose_references(
        self, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], spacing: int
    ) -> TrackReferences:
        """See `MouthSampler`."""
        return TrackReferences.choose(faces, crop_of, self.tiny, spacing)

    @torch.no_grad()
    def prepare(self, inputs: ChunkInputs) -> Encoded:
        """Encode the masked frames, and the reference frames as they fit each of them."""
        references = cast(ChunkReferences, inputs.references)
        if references.lips is not None:
            references = references._replace(target=references.lips.targets(self._lips_moved(inputs.audio_features)))
        latents, maps = self.encode_references(references, len(inputs.crops))
        return Encoded(inputs, references, maps, latents, self._encoded_masked(inputs))

    @torch.no_grad()
    def finish(self, prepared: Encoded) -> Float:
        """Draw the mouths and decode them."""
        references = prepared.references
        generated = self._denoise(prepared)
        kept = torch.lerp(prepared.masked.float(), generated, self._region) if self._keeps else generated
        check(self._stop)
        decoded = self._decode(kept)
        if self._teeth is not None:
            self._teeth.hold(decoded, self._inside, references)
        if self._detail is not None:
            self._detail.give_back(decoded, generated, prepared.latents, references, prepared.maps)
        crops = prepared.inputs.crops
        if decoded.shape == crops.shape:
            return np.ascontiguousarray(decoded, dtype=np.float32)
        out = crops.copy()
        out[:, self._inside[0], self._inside[1]] = decoded
        return out

    def encode_references(self, references: ChunkReferences, count: int) -> tuple[Tensor, ReferenceMaps | None]:
        """Latents of the references for so many frames, (count, n·c, h, w); and their maps, where they are warped."""
        if references.moves is None:
            latents = self._encode(self._pixels(references.pictures))
            return latents.flatten(0, 1).expand(count, -1, -1, -1), None
        maps = ReferenceMaps(references, self._looked_at)
        ways = (KEY_FRAME_WAY, *[KEY_FRAME_WAY_OTHERS] * (len(references.pictures) - 1))
        return torch.cat([self._warped(references, maps, k, way) for k, way in enumerate(ways)], dim=1), maps

    def _denoise(self, prepared: Encoded) -> Tensor:
        """Clean latents (F, c, h, w) float32 of the window."""
        net = self.networks
        c, h, w = prepared.masked.shape[1:]
        audio = prepared.inputs.audio_features.to(net.device, net.dtype)[None]
        references = prepared.latents.transpose(0, 1)[None]
        fixed = conditioning(self._keep, prepared.masked.transpose(0, 1)[None], references)
        if self.guidance > 1:
            fixed, audio = fixed.expand(2, -1, -1, -1, -1), with_null_audio(audio)
        cache = StepCache(self.cache_interval) if self.cache_interval > 1 else None

        def denoise(x: Tensor, timestep: Tensor, _: int) -> Tensor:
            check(self._stop)
            noisy = x.to(net.dtype).expand(len(fixed), -1, -1, -1, -1)
            output = net.unet(unet_input(noisy, fixed), timestep.to(net.device), audio, cache)
            if self.guidance > 1:
                output = guided(output[:1].float(), output[1:].float(), self.guidance)
            return compose_residual(references, output, c) if self.tiny.residual else output

        noise = chunk_noise(self.seed, prepared.inputs.frames, c, h, w).to(net.device)
        return sample(denoise, noise, self.settings.sampler, self.steps)[0].transpose(0, 1)

    def _encoded_masked(self, inputs: ChunkInputs) -> Tensor:
        """Latents (F, c, h, w) of the crops without their mouths."""
        return self._masked.encoded(
            inputs.crops, inputs.frames, lambda crops: self._encode(self._pixels(crops).mul_(self._keep_pixels))
        )

    def _lips_moved(self, audio_features: Tensor) -> Float:
        """(F, 80) how far the lips are to be from those of a closed mouth, see `tiny.lip_warp.ReferenceLips`."""
        net, predictor = self.networks, self.networks.unet.lip_predictor
        flat = audio_features.to(net.device, net.dtype).flatten(1)
        return np.asarray(predictor.lips_moved(predictor.code(flat)).cpu().numpy(), np.float32)

    def _warped(self, references: ChunkReferences, maps: ReferenceMaps, which: int, way: float) -> Tensor:
        """Latents (F, c, h, w) of one reference as it fits each frame; see `pose_warp.key_frames`."""
        moves = cast(Float, references.moves)[:, which]
        encoded = key_frames(moves, way, SAME_PLACE, None if references.target is None else references.target[:, which])
        warped = np.stack([maps.shown(references.pictures, which, k) for k in encoded])
        pixels = torch.from_numpy(warped).to(self.networks.device).clamp_(0, 1).mul_(2).sub_(1).permute(0, 3, 1, 2)
        latents = self._encode(pixels)
        if len(encoded) == len(moves):
            return latents
        places = np.interp(np.arange(len(moves)), encoded, np.arange(len(encoded)))
        before = np.minimum(places.astype(np.int64), max(0, len(encoded) - 2))
        after = np.minimum(before + 1, len(encoded) - 1)
        share = torch.from_numpy((places - before).astype(np.float32)).to(self.networks.device).view(-1, 1, 1, 1)
        return torch.lerp(latents[before].float(), latents[after].float(), share).to(latents.dtype)

    def _rendered(self, pictures: Float) -> Float:
        """(n, R, R, 3) → what their latents show, (n, H, W, 3) of the window, in [0, 1]."""
        return self._decode(self._encode(self._pixels(pictures)))

    def _pixels(self, crops: Float) -> Tensor:
        """(n, R, R, 3) in [0, 1] → (n, 3, H, W) in [−1, 1], float32, of what the encoder looks at."""
        rows, columns = self._looked_at
        return to_pixels(crops[:, rows, columns], self.networks.device)

    def _encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) in [−1, 1] of what the encoder looks at → latents of the window in the network's format."""
        return self._window.encode_part(self.networks.autoencoder, pixels.to(self.networks.dtype))

    def _decode(self, latents: Tensor) -> Float:
        """(n, c, h, w) of the window → (n, H, W, 3) float32 in [0, 1]."""
        wanted = latents.to(self.networks.dtype).contiguous(memory_format=torch.channels_last)
        return to_crops(self.networks.autoencoder.decode(wanted))

    def identity(self) -> str:
        """See `MouthSampler`."""
        own = f"{self.steps} {self.guidance} {self.seed} {self.cache_interval} {self.settings}"
        return f"{own} {fingerprint(self.networks)}"


def _require_lip_motion(networks: Networks) -> None:
    """Raises: WeightsError: the networks do not say how lips move with speech."""
    predictor = getattr(networks.unet, "lip_predictor", None)
    motion = getattr(predictor, "motion", None)
    if motion is None or motion.shape[1] != 2 * NUM_POINTS or not motion.any():
        raise WeightsError("the U-Net doesn't say how lips move with what it hears. Use a whole model folder")
