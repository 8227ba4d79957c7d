"""What the network is asked for at a noise level, and which clean latents its answer stands for."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from latentsync.diffusion import ddim_scheduler
from latentsync.diffusion.noise import noise_like

STEPS = 1000
PURE_NOISE = 0.4
"""Share of examples at σ = 1 in `FlowDenoising`: one or two steps must suffice at run time."""


class Denoising(Protocol):
    """One parameterisation. Latents are (B, c, F, h, w), levels (B,); everything in float32."""

    def levels(self, uniform: Tensor) -> Tensor:
        """Noise levels (B,) from uniform numbers in [0, 1), one per clip."""
        ...

    def at(self, share: float) -> Tensor:
        """The level (1,) at a share of the schedule, 0 = clean, 1 = noise alone."""
        ...

    def timesteps(self, levels: Tensor) -> Tensor:
        """What the network is told, (B,) in 0 … 1000."""
        ...

    def noisy(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """The latents at a level."""
        ...

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the network should answer."""
        ...

    def clean(self, prediction: Tensor, noisy: Tensor, levels: Tensor) -> Tensor:
        """One-step estimate of the clean latents, with gradient to `prediction`."""
        ...


class EpsilonDenoising:
    """Noise prediction on the released schedule: t uniform on 0 … 999, z_t = sqrt(ᾱ_t)·z + sqrt(1 − ᾱ_t)·ε.

    Source: docs/method.md#training-step; the schedule is that of `diffusion.ddim_scheduler`.
    """

    def __init__(self) -> None:
        self.alphas: Tensor = ddim_scheduler(1).alphas_cumprod.float()

    def levels(self, uniform: Tensor) -> Tensor:
        return (uniform * STEPS).long().clamp(max=STEPS - 1)

    def at(self, share: float) -> Tensor:
        return torch.tensor([round(share * (STEPS - 1))])

    def timesteps(self, levels: Tensor) -> Tensor:
        return levels

    def noisy(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        signal, spread = self._shares(levels, clean)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        return noise

    def clean(self, prediction: Tensor, noisy: Tensor, levels: Tensor) -> Tensor:
        """ẑ0 = (z_t − sqrt(1 − ᾱ_t)·ε̂) / sqrt(ᾱ_t), neither clipped nor weighted, however large t is."""
        signal, spread = self._shares(levels, noisy)
        return (noisy - spread * prediction) / signal

    def _shares(self, levels: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas.to(like.device)[levels].view(-1, 1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()


class FlowDenoising:
    """Prediction of the clean latents: x_σ = (1 − σ)·x0 + σ·ε, σ = sqrt(u), and σ = 1 for a fixed share.

    It serves models of one or few steps, which are sampled so (`SamplerConfig.kind` "flow").
    """

    def levels(self, uniform: Tensor) -> Tensor:
        rest = ((uniform - PURE_NOISE) / (1 - PURE_NOISE)).clamp(min=0).sqrt()
        return torch.where(uniform < PURE_NOISE, torch.ones_like(uniform), rest)

    def at(self, share: float) -> Tensor:
        return torch.tensor([share])

    def timesteps(self, levels: Tensor) -> Tensor:
        return STEPS * levels

    def noisy(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        share = levels.view(-1, 1, 1, 1, 1).to(clean)
        return (1 - share) * clean + share * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        return clean

    def clean(self, prediction: Tensor, noisy: Tensor, levels: Tensor) -> Tensor:
        return prediction


def denoising_of(prediction: str) -> Denoising:
    """ "epsilon" (the released models) or "x0" (models of few steps)."""
    return EpsilonDenoising() if prediction == "epsilon" else FlowDenoising()


def reconstruction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error in float32 over the whole latent, not weighted by the mask (docs/method.md#training-step)."""
    return (prediction.float() - target.float()).square().mean()


def clip_noise(seeds: Tensor, shape: tuple[int, int, int, int], alpha: float) -> Tensor:
    """Training noise (B, c, F, h, w): sqrt(α²/(1+α²)) one map per clip + sqrt(1/(1+α²)) independent per frame.

    Args:
        seeds: (B,) int64; row b is a function of seeds[b] alone.
        shape: (c, F, h, w).
        alpha: α of the mixture: 1 = half of the variance each; infinite = one map for all frames.
    """
    channels, _, height, width = shape
    shared = noise_like(seeds, (channels, 1, height, width), stream=1)
    if math.isinf(alpha):
        return shared.expand(-1, *shape).clone()
    own = noise_like(seeds, shape, stream=2)
    return math.sqrt(alpha**2 / (1 + alpha**2)) * shared + math.sqrt(1 / (1 + alpha**2)) * own
