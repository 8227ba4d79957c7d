"""A head start for hearing: what is heard is first taught the shape of the lips, without any picture.

Gradients through a generator reach its ear last: on two CPU cores 1,600 steps from scratch explained a tenth of how
mouths move. The shape of the lips is known from the face mesh, so the ear can be taught it alone within a minute or
two; the generator then only has to learn to draw what the ear says. Nothing of this is left at run time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.metrics import mesh
from latentsync.metrics.lips import correlation, lip_opening
from latentsync.training.datasets import AnyClip, num_frames
from latentsync.training.few_step_data import Hearing

COMPONENTS = 10
"""Principal shapes that are taught; the first five hold 99 % of how lips of the training clips move."""
BATCH = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUpConfig:
    """How the ear is taught.

    Attributes:
        steps: of 512 frames; 0 = no warm-up.
        learning_rate, weight_decay: AdamW's; the rate falls along a half cosine.
        dropout: share of hidden values left out.
        noise: on what is heard, times its spread, drawn per frame from 0 to this.
    """

    steps: int = 1500
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    noise: float = 0.5


def lip_shape(meshes: np.ndarray) -> np.ndarray:
    """Lip points relative to the eyes: (F, 468, 2) in pixels → (F, 80), unit: distance of the outer eye corners."""
    points = np.asarray(meshes, np.float64)
    left, right = points[:, mesh.LEFT_EYE_OUTER], points[:, mesh.RIGHT_EYE_OUTER]
    across = right - left
    distance = np.hypot(across[:, 0], across[:, 1])[:, None]
    along = across / distance
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    away = (points[:, list(mesh.LIPS)] - (left + right)[:, None] / 2) / distance[:, None]
    return np.concatenate([(away * along[:, None]).sum(-1), (away * down[:, None]).sum(-1)], axis=1)


def teach(ear: nn.Module, clips: Iterable[AnyClip], hearing: Hearing, sounds: int, seed: int, config: WarmUpConfig,
          held_out: Iterable[AnyClip] = ()) -> dict[str, float]:  # fmt: skip
    """Teach `ear` (tokens of a frame, flattened → embedding) the shape of the lips, relative to each clip's mean.

    Args:
        ear: a module with `linear_1` and `linear_2` and SiLU between them, as `UNet.audio_embedding`; changed in place.
        sounds: versions of each clip's sound.
    Returns: `r_train`, `r_held_out`: correlation of the lip opening that the ear tells with the real one, per clip.
    """
    everything = [(hearing_of(clip, hearing, sounds), _movement(clip)) for clip in clips]
    shapes = torch.cat([shape for _, shape in everything])
    basis = torch.linalg.svd(shapes[::3], full_matrices=False).Vh[:COMPONENTS]
    scale = (shapes @ basis.T).std(0)
    heard = torch.cat([torch.cat([version[: len(shape)] for version in versions]) for versions, shape in everything])
    wanted = torch.cat([(shape @ basis.T / scale).repeat(len(versions), 1) for versions, shape in everything])
    mean, spread = heard.float().mean(0), heard.float().std(0).clamp_min(1e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second, head = _layers(ear, heard.shape[1], wanted.shape[1])
        _fit([first, second, head], heard, wanted, mean, spread, config)
    linear_1, linear_2 = cast(nn.Linear, ear.linear_1), cast(nn.Linear, ear.linear_2)
    with torch.no_grad():  # what was taught on standardised values, for values as they are
        weight = first.weight / spread
        linear_1.weight.copy_(weight)
        linear_1.bias.copy_(first.bias - weight @ mean)
        linear_2.weight.copy_(second.weight)
        linear_2.bias.copy_(second.bias)
    rest = {"r_train": everything_r(ear, head, basis, scale, clips, hearing)}
    held = list(held_out)
    return rest | ({"r_held_out": everything_r(ear, head, basis, scale, held, hearing)} if held else {})


def hearing_of(clip: AnyClip, hearing: Hearing, sounds: int) -> list[Tensor]:
    """(F, K·D) float16 of each version of a clip's sound."""
    return [hearing(clip, version).flatten(1) for version in range(sounds)]


def _movement(clip: AnyClip) -> Tensor:
    shape = lip_shape(np.asarray(clip.mesh[: num_frames(clip)]))
    return torch.from_numpy(shape - shape.mean(axis=0)).float()


def _layers(ear: Any, heard: int, wanted: int) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    if ear.linear_1.in_features != heard:
        raise ValueError(f"this ear takes {ear.linear_1.in_features} values a frame, {heard} are heard")
    width, out = ear.linear_1.out_features, ear.linear_2.out_features
    return nn.Linear(heard, width), nn.Linear(width, out), nn.Linear(out, wanted)


def _fit(layers: list[nn.Linear], heard: Tensor, wanted: Tensor, mean: Tensor, spread: Tensor, c: WarmUpConfig) -> None:
    parameters = [p for layer in layers for p in layer.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=c.learning_rate, weight_decay=c.weight_decay)
    weight = torch.full((wanted.shape[1],), 0.5)
    weight[:2] = 1
    for step in range(c.steps):
        for group in optimiser.param_groups:
            group["lr"] = c.learning_rate * 0.5 * (1 + float(np.cos(np.pi * step / c.steps)))
        rows = torch.randint(len(heard), (BATCH,))
        x = (heard[rows].float() - mean) / spread
        x = x + c.noise * torch.rand(BATCH, 1) * torch.randn_like(x)
        for layer in layers[:-1]:
            x = functional.dropout(functional.silu(layer(x)), c.dropout)
        loss = ((layers[-1](x) - wanted[rows]).square() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def everything_r(
    ear: nn.Module, head: nn.Linear, basis: Tensor, scale: Tensor, clips: Iterable[AnyClip], hearing: Hearing
) -> float:
    """Mean over clips of the correlation of told and real lip opening."""
    upper, lower = ([mesh.LIPS.index(pair[k]) + len(mesh.LIPS) for pair in mesh.INNER_LIP_PAIRS] for k in (0, 1))
    found = []
    for clip in clips:
        real = lip_opening(np.asarray(clip.mesh[: num_frames(clip)]))
        told = (head(functional.silu(ear(hearing(clip).flatten(1).float()))) * scale) @ basis
        found.append(correlation((told[:, lower] - told[:, upper]).mean(1).numpy()[: len(real)], real))
    return float(np.nanmean(found))
