"""Samplers: DDIM on diffusers' scheduler, as the released checkpoints were made for, and a few-step flow of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError

Denoise = Callable[[Tensor, Tensor, int], Tensor]
"""(x (B, c, F, h, w), timestep (scalar tensor), step index) → prediction of the same shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """What a checkpoint was trained to predict, and how it is sampled by default.

    Attributes:
        kind: "ddim": ε-prediction on the scaled-linear schedule; "flow": x_σ = (1 − σ)·x0 + σ·ε, timestep 1000·σ.
        prediction: what the network gives: "epsilon" (ddim) or "x0" (flow).
        steps: default number of steps.
        guidance: default scale of classifier-free guidance, 1 = off.
    """

    kind: Literal["ddim", "flow"] = "ddim"
    prediction: Literal["epsilon", "x0"] = "epsilon"
    steps: int = 20
    guidance: float = 1.5

    def __post_init__(self) -> None:
        if (self.kind, self.prediction) not in (("ddim", "epsilon"), ("flow", "x0")):
            raise ConfigError("sampler.prediction", self.prediction, "use ddim with epsilon or flow with x0")
        if self.steps < 1:
            raise ConfigError("sampler.steps", self.steps, "choose 1 or more")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SamplerConfig:
        """From `config.json`'s form. Raises ConfigError on an unknown key."""
        return checked(cls, mapping, "sampler")

    def to_mapping(self) -> dict[str, Any]:
        """The mapping `from_mapping` takes."""
        return asdict(self)


def ddim_scheduler(steps: int) -> Any:
    """diffusers' DDIM scheduler with its `timesteps` set.

    The released checkpoints' settings: scaled-linear betas 0.00085…0.012 over 1000 steps, no clipping,
    `set_alpha_to_one=False`, `steps_offset=1`, leading spacing, η = 0.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
        prediction_type="epsilon",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    return scheduler


def sample(denoise: Denoise, noise: Tensor, config: SamplerConfig, steps: int) -> Tensor:
    """Denoise from pure noise to latents; scheduling arithmetic in float32, whatever dtype the network uses.

    Args:
        denoise: see `Denoise`; guidance, if any, happens inside.
        noise: (B, c, F, h, w) float32, unit variance.
    """
    x = noise.float()
    if config.kind == "flow":
        return _flow(denoise, x, steps)
    scheduler = ddim_scheduler(steps)
    for k, t in enumerate(scheduler.timesteps):
        x = scheduler.step(denoise(x, t, k).float(), t, x, return_dict=False)[0]
    return x


def _flow(denoise: Denoise, x: Tensor, steps: int) -> Tensor:
    """Euler's method on evenly spaced σ from 1 to 0. Not diffusers': loading it takes longer than a second of film."""
    sigmas = [1 - k / steps for k in range(steps)] + [0.0]
    for k, (sigma, following) in enumerate(pairwise(sigmas)):
        velocity = (x - denoise(x, torch.tensor(1000 * sigma), k).float()) / sigma  # ε − x0
        x = x + (following - sigma) * velocity
    return x


def guided(null: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: null + scale·(conditional − null)."""
    return torch.lerp(null, conditional, scale)
