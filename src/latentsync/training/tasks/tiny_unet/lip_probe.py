"""Reads what lips do off latents: a loss that asks for the right mouth, not only for the right average.

Most of what changes between latents of neighbouring frames is camera noise, compression and small turns of the head,
which no speech explains. A generator trained on their squared error therefore hardly moves the lips, least of all
their corners. The reader looks at the code of the lips alone (`lip_shape.LipParameterBasis`).

It is taught movement, not looks: only differences between frames of one clip count, since nobody's lips are as wide as
another's. Taught whole shapes of a few people it learns whose lips they are: what it then reads off people it has not
seen is off by as much as they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.core.errors import ConfigError
from latentsync.metrics.lips import correlation
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.training.datasets import AnyClip, AugmentationRange, augment, draw_augmentation, num_frames
from latentsync.training.datasets.lip_parameters import LipParameterBasis

CELLS = (slice(6, 16), slice(2, 14))
"""Rows and columns of the 16×16 latents around the mouth."""
NUMBERS = 4
"""Numbers of the code that are read, the first ones; the others hardly move."""
WEIGHTS = (1.0, 1.0, 0.3, 0.3)
"""Of their squared errors: opening and width, then what is half the mesh's trembling."""
CLIPS, FRAMES = 16, 8
"""In a step of the reader's training."""


class LipProbe(nn.Module):
    """Latents (n, c, 16, 16) → numbers of the code of the lips (n, 4), up to a constant of the person's own."""

    weights: Tensor

    def __init__(self, latent_channels: int, width: int = 64, numbers: int = NUMBERS) -> None:
        super().__init__()
        self.first = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.mix = nn.Linear(width * 30, 128)
        self.out = nn.Linear(128, numbers)
        self.register_buffer("weights", torch.tensor(WEIGHTS[:numbers]), persistent=False)

    def forward(self, latents: Tensor, dropout: float = 0.0) -> Tensor:
        """Args: dropout: share of values left out before the last two layers."""
        hidden = functional.silu(self.first(latents[:, :, CELLS[0], CELLS[1]]))
        hidden = functional.silu(self.second(hidden))
        hidden = functional.silu(self.third(hidden)).flatten(1)
        return self.out(functional.silu(self.mix(functional.dropout(hidden, dropout, dropout > 0))))


@dataclass(frozen=True, kw_only=True, slots=True)
class LipProbeConfig:
    """How the reader is trained.

    Attributes:
        steps, learning_rate, weight_decay: AdamW's; the rate falls along a half cosine.
        dropout: see `LipProbe.forward`.
        noise: on the latents, drawn per clip from 0 to this.
        every: frames between those that are taken of a clip.
        looks: versions of each clip, the first as it is, the others each in a look of their own.
    """

    steps: int = 2000
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    noise: float = 0.3
    every: int = 3
    looks: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "every", "looks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.reader.{name}", getattr(self, name), "choose 1 or more")


@torch.no_grad()
def latents_and_codes(
    clip: AnyClip,
    autoencoder: TinyAutoencoder,
    lips: LipParameterBasis,
    every: int,
    looks: int,
    look: AugmentationRange | None,
    seed: int,
) -> list[tuple[Tensor, Tensor]]:
    """Of each version of a clip: latents (n, c, 16, 16) float16 of every `every`-th frame, and codes (n, size)."""
    dtype = next(autoencoder.parameters()).dtype
    rng = np.random.default_rng(seed)
    found = []
    for version in range(looks if look is not None else 1):
        frames = slice(version % every, num_frames(clip), every)
        crops, flip = np.array(clip.crops[frames]), False
        if version > 0 and look is not None:
            drawn = draw_augmentation(rng, look)
            crops, flip = augment(crops, drawn), drawn.flip
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = [autoencoder.encode(part.to(dtype, memory_format=torch.channels_last)) for part in pictures.split(32)]
        found.append((torch.cat(latents).half(), lips(clip, flip)[frames]))
    return found


def teach_reader(
    reader: LipProbe,
    clips: Sequence[AnyClip],
    held_out: Sequence[AnyClip],
    autoencoder: TinyAutoencoder,
    lips: LipParameterBasis,
    look: AugmentationRange | None,
    seed: int,
    c: LipProbeConfig,
) -> dict[str, float]:
    """Train the reader in place, every person as often as another.

    Returns: of people it has not seen `r_K`, mean correlation within a clip of number K with what is read, and
    `strength_K`, the slope of what is read over it: 1 = movement of the right size.
    """
    people: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for number, clip in enumerate(clips):
        seen = latents_and_codes(clip, autoencoder, lips, c.every, c.looks, look, seed + number)
        people.setdefault(clip.person, []).extend(seen)
    rng = np.random.default_rng(seed)
    names = list(people)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in reader.children():
            module.reset_parameters()  # type: ignore[operator]
        optimiser = torch.optim.AdamW(reader.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay)
        for step in range(c.steps):
            for group in optimiser.param_groups:
                group["lr"] = c.learning_rate * 0.5 * (1 + float(np.cos(np.pi * step / c.steps)))
            picks = []
            for _ in range(CLIPS):
                versions = people[names[int(rng.integers(len(names)))]]
                latents, code = versions[int(rng.integers(len(versions)))]
                rows = torch.from_numpy(rng.integers(0, len(code), FRAMES))
                picks.append((latents[rows], code[rows]))
            x, wanted = (torch.stack(part).float() for part in zip(*picks, strict=True))
            x = x + c.noise * torch.rand(CLIPS, 1, 1, 1, 1) * torch.randn_like(x)
            predicted = reader(x.flatten(0, 1), c.dropout).unflatten(0, (CLIPS, FRAMES))
            error = predicted - wanted[..., : len(reader.weights)]
            loss = ((error - error.mean(1, keepdim=True)).square() * reader.weights).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if not held_out:
        return {}
    return _judged(reader, [latents_and_codes(x, autoencoder, lips, c.every, 1, None, seed)[0] for x in held_out])


@torch.no_grad()
def _judged(reader: LipProbe, clips: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    numbers = len(reader.weights)
    r, strength = np.zeros((2, len(clips), numbers))
    for row, (latents, code) in enumerate(clips):
        predicted, real = (each.numpy() - each.numpy().mean(0) for each in (reader(latents.float()), code[:, :numbers]))
        r[row] = [correlation(predicted[:, k], real[:, k]) for k in range(numbers)]
        strength[row] = (predicted * real).sum(0) / np.maximum(np.square(real).sum(0), 1e-12)
    figures = {"r": np.nanmean(r, axis=0), "strength": strength.mean(0)}
    return {f"{name}_{k}": float(values[k]) for name, values in figures.items() for k in range(numbers)}
