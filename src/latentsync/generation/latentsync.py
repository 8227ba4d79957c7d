"""Latents, denoising and decoding: from the crops of a chunk and what is heard to the crops with the new mouth."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.progress import StopFlag, check, never
from latentsync.core.values import Float
from latentsync.diffusion import chunk_noise, sample
from latentsync.diffusion.sampling import guided
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.detail import DetailResidual
from latentsync.generation.tiny.lip_warp import NUM_POINTS
from latentsync.generation.tiny.pose_warp import knots
from latentsync.generation.tiny.references import Poses, References
from latentsync.generation.tiny.residual import compose_residual, output_channels
from latentsync.generation.tiny.teeth_colour import TeethColourGuard
from latentsync.generation.tiny.window import LatentWindow
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.unet import StepCache, UNet

BETWEEN = 1 / 256
"""A turned reference is made anew where the mouth in it has gone so far, in crop sides; the latents of frames between
are mixed. One pixel at 256: see benchmarks/turned_references.py."""
BETWEEN_OTHERS = 3 / 256
"""The same of the references after the first, of which less is seen."""
SAME = 0.25 / 256
"""One serves a chunk in which the mouth stays within so much of its place."""
IN_TURN = 4
"""People and interleaved sets that take turns without the ends of their last chunks being forgotten."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The loaded networks of one model, on one device."""

    unet: UNet
    autoencoder: Autoencoder
    audio_encoder: nn.Module
    device: torch.device
    dtype: torch.dtype


class Prepared(NamedTuple):
    """A chunk whose pictures are encoded; see `Generator`.

    Attributes:
        stills: (F, n·c, h, w) latents of the references. masked: (F, c, h, w) of the frames without their mouths.
    """

    crops: Float
    windows: Tensor
    frames: Sequence[int]
    references: References | None
    poses: Poses | None
    stills: Tensor
    masked: Tensor


class Generator:
    """Makes mouths. What it makes of a chunk does not depend on those before: it only remembers what it would make
    again."""

    def __init__(
        self, networks: Networks, settings: ModelSettings, options: SyncOptions, stop: StopFlag = never
    ) -> None:
        """Args: stop: asked before every step and before decoding: on a CPU a chunk can take half an hour.
        Raises: ConfigError, WeightsError: options or networks that do not fit the model.
        """
        self.networks, self.settings, self._stop = networks, settings, stop
        self.steps = options.steps or settings.sampler.steps
        self.guidance = settings.sampler.guidance if options.guidance is None else options.guidance
        if options.sampler not in ("auto", settings.sampler.kind):
            raise ConfigError("sampler", options.sampler, f"this model is sampled by {settings.sampler.kind!r}")
        self.seed, self.cache_interval = options.seed, options.block_cache_interval
        autoencoder, unet = networks.autoencoder, networks.unet
        wanted = (4 if settings.open_reference else 3) * autoencoder.latent_channels + 1
        if unet.config.in_channels != wanted:
            raise WeightsError(
                f"the U-Net takes {unet.config.in_channels} channels, the autoencoder makes latents for {wanted}: "
                "they are not of one model. Use a complete model folder"
            )
        answers = output_channels(autoencoder.latent_channels, settings.residual and settings.open_reference)
        if unet.config.out_channels not in answers:
            raise WeightsError(
                f"the U-Net gives {unet.config.out_channels} channels, this model's settings allow "
                f"{' or '.join(map(str, answers))}: they are not of one model. Use a complete model folder"
            )
        mask = inpaint_mask(settings.resolution, settings.mask)
        self.mask: Float = mask
        factor = autoencoder.factor
        self._keep = torch.from_numpy(1 - latent_mask(mask, factor)).to(networks.device)
        touched = functional.max_pool2d(torch.from_numpy(mask)[None, None], factor)
        # decoding a cell looks at its neighbours, so they are generated too
        region = functional.max_pool2d(touched, 3, stride=1, padding=1)[0, 0].to(networks.device)
        try:
            self._window = LatentWindow.of(settings.window, len(region))
        except ValueError as error:
            raise WeightsError(f"the model's settings cannot be used: {error}") from error
        self._keep, self._region = self._window.cut(self._keep), self._window.cut(region)
        self._looked_at = self._window.around(len(region)).pixels(factor)
        self._keep_pixels = torch.from_numpy(1 - mask[self._looked_at]).to(networks.device)
        if settings.shaped_references:
            motion = getattr(unet.lip_predictor, "motion", None) if hasattr(unet, "lip_predictor") else None
            if motion is None or motion.shape[1] != 2 * NUM_POINTS or not motion.any():
                raise WeightsError("the U-Net doesn't say how lips move with what it hears. Use a whole model folder")
        overlap = settings.overlap_frames if options.overlap_frames is None else options.overlap_frames
        # on a CPU a batch's size changes no number; elsewhere it may, and a run that goes on would not be the same
        self._overlap = overlap if networks.device.type == "cpu" else 0
        self._ends: deque[tuple[int, Float, Tensor]] = deque(maxlen=IN_TURN * self._overlap)
        self._keeps = settings.keep_latents and bool((self._region < 1).any())
        self._teeth = TeethColourGuard()
        self._texture = DetailResidual(self._rendered, self._window.pixels(factor), factor)

    def __call__(
        self, crops: Float, windows: Tensor, frames: Sequence[int], references: References | None = None
    ) -> Float:
        """Generate one set of crops.

        Args:
            crops: (F, R, R, 3) float32 in [0, 1].
            windows: (F, K, D) what is heard.
            frames: F indices in the video; they choose the noise.
            references: None = each frame is its own.
        Returns: (F, R, R, 3) float32 in [0, 1]; only the masked part is meant to be used.
        Raises: Stopped.
        """
        return self.finish(self.prepare(crops, windows, frames, references))

    @torch.no_grad()
    def prepare(
        self, crops: Float, windows: Tensor, frames: Sequence[int], references: References | None = None
    ) -> Prepared:
        """The first half of a call: references and masked frames are encoded.

        One thread at a time may be in it, another in `finish`.
        """
        poses = None
        if references is None:
            stills = self._encode(self._pixels(crops))
        else:
            if references.mouths is not None:
                references = references._replace(wanted=references.mouths.wanted(self._lips_moved(windows)))
            stills, poses = self.encode_references(references, len(crops))
        return Prepared(crops, windows, frames, references, poses, stills, self._masked(crops, frames))

    @torch.no_grad()
    def finish(self, prepared: Prepared) -> Float:
        """The second half: the mouths are drawn and decoded."""
        crops, windows, frames, references, poses, stills, masked = prepared
        made = self._denoise(stills, masked, windows, frames)
        wanted = torch.lerp(masked.float(), made, self._region) if self._keeps else made
        check(self._stop)
        decoded = self._decode(wanted)
        if references is not None and self.settings.reference_teeth:
            self._teeth.hold(decoded, self._window.pixels(self.networks.autoencoder.factor), references)
        if references is not None and self.settings.reference_texture:
            self._texture.give_back(decoded, made, stills, references, poses)
        if decoded.shape == crops.shape:
            return np.ascontiguousarray(decoded, dtype=np.float32)
        rows, columns = self._window.pixels(self.networks.autoencoder.factor)
        out = crops.copy()
        out[:, rows, columns] = decoded
        return out

    def encode_references(self, references: References, count: int) -> tuple[Tensor, Poses | None]:
        """Latents of the references for so many frames, (count, n·c, h, w); and their poses, where they are posed."""
        if references.moves is not None:
            poses = Poses(references, self._looked_at)
            limits = (BETWEEN, *[BETWEEN_OTHERS] * (len(references.pictures) - 1))
            return torch.cat([self._posed(references, poses, k, limit) for k, limit in enumerate(limits)], dim=1), poses
        return self._encode(self._pixels(references.pictures)).flatten(0, 1).expand(count, -1, -1, -1), None

    def _masked(self, crops: Float, frames: Sequence[int]) -> Tensor:
        """Latents (F, c, h, w) of the crops without their mouths. The first frames of a chunk may be the last ones of
        the chunk before, whose latents are known."""
        known: list[Tensor] = []
        while len(known) < len(frames):
            latents = self._remembered(frames[len(known)], crops[len(known)])
            if latents is None:
                break
            known.append(latents)
        if len(known) < len(frames):
            known += self._encode(self._pixels(crops[len(known) :]).mul_(self._keep_pixels))
        if self._overlap:
            ends = slice(-self._overlap, None)
            self._ends.extend(zip(frames[ends], crops[ends].copy(), known[ends], strict=True))
        return torch.stack(known)

    def _remembered(self, frame: int, crop: Float) -> Tensor | None:
        """Latents of a masked crop that a chunk before ended with."""
        same = (latents for index, own, latents in self._ends if index == frame and np.array_equal(own, crop))
        return next(same, None)

    def _pixels(self, crops: Float) -> Tensor:
        """(n, R, R, 3) in [0, 1] → (n, 3, H, W) in [−1, 1], float32, of what the encoder looks at."""
        rows, columns = self._looked_at
        part = torch.from_numpy(crops[:, rows, columns]).to(self.networks.device)
        return (part * 2).sub_(1).permute(0, 3, 1, 2)

    def _lips_moved(self, windows: Tensor) -> Float:
        """(F, 80) how far the lips are to be from those of a closed mouth, see `tiny.lip_warp.Mouths`."""
        net = self.networks
        heard = windows.to(net.device, net.dtype).flatten(1)
        return np.asarray(
            net.unet.lip_predictor.lips_moved(net.unet.lip_predictor.code(heard)).cpu().numpy(), np.float32
        )

    def _posed(self, references: References, poses: Poses, which: int, limit: float) -> Tensor:
        """Latents (F, c, h, w) of one still, turned as the head is, with its lips where they are to be; see `knots`."""
        net = self.networks
        moves = cast(Float, references.moves)[:, which]
        made = knots(moves, limit, SAME, None if references.wanted is None else references.wanted[:, which])
        turned = torch.from_numpy(np.stack([poses.shown(references.pictures, which, k) for k in made])).to(net.device)
        latents = self._encode(turned.clamp_(0, 1).mul_(2).sub_(1).permute(0, 3, 1, 2))
        if len(made) == len(moves):
            return latents
        places = np.interp(np.arange(len(moves)), made, np.arange(len(made)))
        before = np.minimum(places.astype(np.int64), max(0, len(made) - 2))
        after = np.minimum(before + 1, len(made) - 1)
        share = torch.from_numpy((places - before).astype(np.float32)).to(net.device).view(-1, 1, 1, 1)
        return torch.lerp(latents[before].float(), latents[after].float(), share).to(latents.dtype)

    def _rendered(self, pictures: Float) -> Float:
        """(n, R, R, 3) → what their latents show, (n, H, W, 3) of the window, in [0, 1]."""
        return self._decode(self._encode(self._pixels(pictures)))

    def _decode(self, latents: Tensor) -> Float:
        """(n, c, h, w) of the window → (n, H, W, 3) float32 in [0, 1]."""
        net = self.networks
        wanted = latents.to(net.dtype).contiguous(memory_format=torch.channels_last)
        pixels = net.autoencoder.decode(wanted).permute(0, 2, 3, 1).float()
        return np.asarray((pixels / 2).add_(0.5).clamp_(0, 1).cpu().numpy())

    def _encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) in [−1, 1] of what the encoder looks at → latents of the window in the network's format."""
        net = self.networks
        return self._window.encode_part(net.autoencoder, pixels.to(net.dtype))

    def _denoise(self, references: Tensor, masked: Tensor, windows: Tensor, frames: Sequence[int]) -> Tensor:
        """Latents (F, c, h, w) float32 from those of the references (F, n·c, h, w), the masked frames, and speech."""
        net = self.networks
        windows = windows.to(net.device, net.dtype)
        count, c, h, w = masked.shape
        fixed = torch.cat([self._keep.to(net.dtype).expand(count, 1, h, w), masked, references], dim=1)
        fixed = fixed.transpose(0, 1)[None]  # (1, (n + 1)·c + 1, F, h, w)
        heard = windows[None]
        if self.guidance > 1:
            fixed = fixed.expand(2, -1, -1, -1, -1)
            heard = torch.cat([torch.zeros_like(heard), heard])
        base = references.transpose(0, 1)[None]
        cache = StepCache(self.cache_interval) if self.cache_interval > 1 else None

        def denoise(x: Tensor, timestep: Tensor, _: int) -> Tensor:
            check(self._stop)
            noisy = x.to(net.dtype).expand(len(fixed), -1, -1, -1, -1)
            made = net.unet(torch.cat([noisy, fixed], dim=1), timestep.to(net.device), heard, cache)
            if self.guidance > 1:
                made = guided(made[:1].float(), made[1:].float(), self.guidance)
            return compose_residual(base, made, c) if self.settings.residual else made

        noise = chunk_noise(self.seed, frames, c, h, w).to(net.device)
        return sample(denoise, noise, self.settings.sampler, self.steps)[0].transpose(0, 1)
