"""Reads the shape of the lips off latents: a loss that asks for the right mouth, not only for the right average.

Most of what changes between latents of neighbouring frames is camera noise, compression and small turns of the head,
which no speech explains. A generator trained on their squared error therefore hardly moves the lips. The reader looks
at the shape of the lips alone, where speech explains half of the variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.training.datasets import AnyClip, num_frames
from latentsync.training.lip_shape import lip_shape

CELLS = (slice(7, 15), slice(4, 12))
"""Rows and columns of the 16×16 latents around the mouth."""
CODE = 6
"""Principal shapes that are read."""


class LipReader(nn.Module):
    """Latents (n, c, 16, 16) → standardised principal lip shapes (n, 6)."""

    def __init__(self, latent_channels: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Linear(width * 64, 128)
        self.out = nn.Linear(128, CODE)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = functional.silu(self.first(latents[:, :, CELLS[0], CELLS[1]]))
        hidden = functional.silu(self.second(hidden))
        return self.out(functional.silu(self.mix(hidden.flatten(1))))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderConfig:
    """How the reader is trained: on every `every`-th frame, with noise of `noise` on the latents."""

    steps: int = 1200
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    noise: float = 0.3
    every: int = 3


@torch.no_grad()
def latents_and_shapes(clips: Sequence[AnyClip], autoencoder: TinyAutoencoder, every: int) -> tuple[Tensor, Tensor]:
    """Latents (n, c, 16, 16) float16 of every `every`-th frame, and shapes of the lips (n, 80)."""
    latents, shapes = [], []
    dtype = next(autoencoder.parameters()).dtype
    for clip in clips:
        count = num_frames(clip)
        crops = torch.from_numpy(np.array(clip.crops[:count:every])).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append(autoencoder.encode(crops.to(dtype, memory_format=torch.channels_last)).half())
        shapes.append(torch.from_numpy(lip_shape(np.asarray(clip.mesh[:count:every]))).float())
    return torch.cat(latents), torch.cat(shapes)


def teach_reader(
    reader: LipReader,
    clips: Sequence[AnyClip],
    held_out: Sequence[AnyClip],
    autoencoder: TinyAutoencoder,
    seed: int,
    c: ReaderConfig,
) -> dict[str, float]:
    """Train the reader in place. Returns `r2_held_out`: share of the variance of the main shape that it reads off
    people it has not seen."""
    latents, shapes = latents_and_shapes(clips, autoencoder, c.every)
    mean = shapes.mean(0)
    basis = torch.linalg.svd(shapes - mean, full_matrices=False).Vh[:CODE]
    scale = ((shapes - mean) @ basis.T).std(0)
    scale = scale.clamp_min(1e-3 * float(scale.max()))
    wanted = (shapes - mean) @ basis.T / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in reader.children():
            module.reset_parameters()  # type: ignore[operator]
        optimiser = torch.optim.AdamW(reader.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay)
        for step in range(c.steps):
            for group in optimiser.param_groups:
                group["lr"] = c.learning_rate * 0.5 * (1 + float(np.cos(np.pi * step / c.steps)))
            rows = torch.randint(len(latents), (128,))
            x = latents[rows].float()
            x = functional.dropout(x + c.noise * torch.rand(128, 1, 1, 1) * torch.randn_like(x), c.dropout)
            loss = (reader(x) - wanted[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if not held_out:
        return {}
    latents, shapes = latents_and_shapes(held_out, autoencoder, c.every)
    with torch.no_grad():
        told = reader(latents.float())
    real = (shapes - mean) @ basis.T / scale
    left = (told - real).square().sum(0) / (real - real.mean(0)).square().sum(0)
    return {f"r2_shape_{k}": float(1 - left[k]) for k in range(4)}
