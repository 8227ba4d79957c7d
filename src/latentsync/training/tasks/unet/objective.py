"""One step of the U-Net's training: noise, prediction, and what the estimate looks and sounds like when decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from latentsync.core.errors import ConfigError
from latentsync.diffusion.noise import uniform_like
from latentsync.diffusion.parameterization import clip_noise, denoising_of, reconstruction_loss
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.generation.conditioning import conditioning, unet_input
from latentsync.generation.tiny.config import TinyConfig
from latentsync.generation.tiny.residual import compose_residual
from latentsync.generation.tiny.window import LatentWindow
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.unet import UNet
from latentsync.training.engine.task import Batch, Objective
from latentsync.training.losses.perceptual import PerceptualLoss
from latentsync.training.losses.sync import SyncLoss
from latentsync.training.losses.trepa import TrepaLoss
from latentsync.training.tasks.unet.settings import LossWeights

AT_ONCE = 8
"""Frames that the autoencoder encodes at once."""
LEVEL, DROP = 3, 4
"""Streams of random numbers; 1 and 2 are the noise."""


class UNetObjective(Objective):
    """The released method (docs/method.md#training-step), for any autoencoder.

    A batch holds `target` and `reference` (B, F, 3, R, R) uint8, `open` (B, 1, 3, R, R) for models with a second
    reference, `audio_features` (B, F, K, D), `seed`, and with a sync loss `mel` (B, 1, 80, W).

    Args:
        prediction: "epsilon" or "x0".
        tiny: of a small model (`ModelSettings.tiny`); None = the paper's. Losses on pixels want no window.
        trainable: see `UNetSettings`; what no entry names is frozen.
        sync, perceptual, trepa: needed where their weight is not 0.
    """

    def __init__(
        self,
        unet: UNet,
        autoencoder: Autoencoder,
        *,
        resolution: int,
        mask: str = "mask",
        prediction: str = "epsilon",
        tiny: TinyConfig | None = None,
        weights: LossWeights | None = None,
        trainable: Sequence[str] = (),
        mixed_noise_alpha: float = 1.0,
        condition_dropout: float = 0.0,
        gradient_checkpointing: bool = True,
        sync: SyncLoss | None = None,
        perceptual: PerceptualLoss | None = None,
        trepa: TrepaLoss | None = None,
    ) -> None:
        super().__init__(unet)
        self.weights, self.residual = weights or LossWeights(), tiny is not None and tiny.residual
        window = None if tiny is None else tiny.window
        self.method = denoising_of(prediction)
        self.alpha, self.condition_dropout, self.frugal = mixed_noise_alpha, condition_dropout, gradient_checkpointing
        self.consult("autoencoder", cast(Any, autoencoder))
        for name, network in (("sync", sync), ("perceptual", perceptual), ("trepa", trepa)):
            if getattr(self.weights, name) > 0:
                if network is None:
                    raise ConfigError(f"task.weights.{name}", getattr(self.weights, name), _MISSING[name])
                self.consult(name, network)
        self.window = LatentWindow.of(window, resolution // autoencoder.factor)
        if window is not None and self.weights.need_pixels:
            raise ConfigError(
                "task.weights", "sync, perceptual, trepa", "set them to 0: this model makes the mouth alone"
            )
        generated = inpaint_mask(resolution, mask)
        self.register_buffer("keep_pixels", torch.from_numpy(1 - generated), persistent=False)
        keep = torch.from_numpy(1 - latent_mask(generated, autoencoder.factor))
        self.register_buffer("keep", self.window.cut(keep), persistent=False)
        choose_trainable(unet, trainable)
        unet.set_gradient_checkpointing(gradient_checkpointing)

    @property
    def unet(self) -> UNet:
        """The network in training."""
        return cast(UNet, self.network)

    @property
    def autoencoder(self) -> Autoencoder:
        """The frozen autoencoder."""
        return cast(Autoencoder, self.consulted("autoencoder"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms: `reconstruction`, and `sync`, `perceptual`, `trepa` where their weight is not 0."""
        seeds = batch["seed"]
        clean, fixed = self.encode(batch)
        noise = clip_noise(seeds, tuple(clean.shape[1:]), self.alpha).to(clean)  # type: ignore[arg-type]
        levels = self.method.levels(uniform_like(seeds, LEVEL)).to(clean.device)
        noisy = self.method.noisy(clean, noise, levels)
        audio_features = batch["audio_features"].float()
        dropped = uniform_like(seeds, DROP).to(audio_features.device) < self.condition_dropout
        audio_features = audio_features * (~dropped).view(-1, 1, 1, 1)
        made = self.predict(noisy, fixed, levels, audio_features)
        w = self.weights
        terms = {"reconstruction": w.reconstruction * reconstruction_loss(made, self.method.target(clean, noise))}
        if w.need_pixels:
            estimate = self.method.clean(made.float(), noisy, levels)
            terms |= self._decoded_terms(batch, estimate)
        return terms

    def predict(self, noisy: Tensor, fixed: Tensor, levels: Tensor, audio_features: Tensor) -> Tensor:
        """The network's answer (B, c, F, h, w); `fixed` is what `encode` gives."""
        joined = unet_input(noisy, fixed)
        if torch.is_grad_enabled():
            # With a frozen stem nothing before the first norm would need a gradient, and PyTorch (2.13, CPU) then
            # crashes in the backward pass of a channels-last GroupNorm that is itself trained.
            joined.requires_grad_()
        made = self.network(joined, self.method.timesteps(levels), audio_features)
        c = noisy.shape[1]
        return compose_residual(fixed[:, 1 + c :], made, c) if self.residual else made

    @torch.no_grad()
    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean latents (B, c, F, h, w), and what stays beside them: mask, masked and reference latents, in that order
        (B, (n + 1)·c + 1, F, h, w), float32. Posteriors are sampled, with noise that follows from the seeds."""
        others = [name for name in ("reference", "open") if name in batch]
        parts: tuple[list[Tensor], ...] = tuple([] for _ in range(2 + len(others)))
        for row, seed in enumerate(batch["seed"].tolist()):
            generator = torch.Generator().manual_seed(int(seed) * 31 + 7)
            target, *seen = (_pixels(batch[name][row]) for name in ("target", *others))
            masked = target * self.get_buffer("keep_pixels")
            for out, frames in zip(parts, (target, masked, *seen), strict=True):
                out.append(self._latents(frames, generator).expand(len(target), -1, -1, -1))
        stacked = [torch.stack(part).transpose(1, 2).float() for part in parts]
        references = torch.cat(stacked[2:], dim=1)
        return stacked[0], conditioning(self.get_buffer("keep"), stacked[1], references)

    def _latents(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        return torch.cat([self.window.encode(self.autoencoder, part, generator) for part in frames.split(AT_ONCE)])

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, F, h, w) → pixels (B, F, 3, R, R), with gradients. Frame by frame, and with gradient checkpointing
        the inner values of one frame only are held at a time."""
        flat = latents.transpose(1, 2).flatten(0, 1)
        if self.frugal and flat.requires_grad:
            frames = [checkpoint(self.autoencoder.decode, one, use_reentrant=False) for one in flat.split(1)]
        else:
            frames = [self.autoencoder.decode(one) for one in flat.split(1)]
        return torch.cat(frames).unflatten(0, (len(latents), -1))

    def _decoded_terms(self, batch: Batch, estimate: Tensor) -> dict[str, Tensor]:
        w, terms = self.weights, {}
        made, real = self.decode(estimate), _pixels(batch["target"])
        if w.perceptual > 0:
            flat = made.flatten(0, 1), real.flatten(0, 1)
            loss = self.consulted("perceptual")
            terms["perceptual"] = w.perceptual * (
                checkpoint(loss, *flat, use_reentrant=False) if self.frugal else loss(*flat)
            )
        if w.trepa > 0:
            terms["trepa"] = w.trepa * self.consulted("trepa")(made, real)
        if w.sync > 0:
            sync = cast(SyncLoss, self.consulted("sync"))
            seen = estimate.transpose(1, 2) if sync.facts.input == "latent" else made
            terms["sync"] = w.sync * sync(seen, batch["mel"])
        return terms


_MISSING = {
    "sync": "give a SyncNet with task.components.syncnet (latentsync train syncnet makes one), or set it to 0",
    "perceptual": "give task.components.vgg and .lpips, or set it to 0",
    "trepa": "give task.components.videomae or .syncnet, or set it to 0",
}


def choose_trainable(network: torch.nn.Module, parts: Sequence[str]) -> int:
    """Freeze every parameter whose name contains none of `parts` (empty = train all). Returns: trained values.

    Raises: ConfigError: an entry names nothing.
    """
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        if not any(part in name for name in names):
            raise ConfigError("task.trainable", part, "no parameter of this U-Net has that in its name")
    count = 0
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not parts or any(part in name for part in parts))
        count += parameter.numel() * parameter.requires_grad
    return count


def _pixels(frames: Tensor) -> Tensor:
    """uint8 → float32 in [−1, 1]: (x/255 − 0.5)/0.5."""
    return frames.float() / 127.5 - 1
