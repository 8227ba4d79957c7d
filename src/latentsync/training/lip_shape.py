"""A head start for hearing: what is heard is first taught the shape of the lips, without any picture.

Gradients through a generator reach its ear last: on two CPU cores 1,600 steps from scratch explained a tenth of how
mouths move. The shape of the lips is known from the face mesh, so the ear can be taught it alone within a minute or
two; the generator then only has to learn to draw what the ear says. Nothing of this is left at run time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.metrics import mesh
from latentsync.metrics.lips import correlation, lip_opening
from latentsync.models.ear import Ear
from latentsync.training.datasets import AnyClip, num_frames
from latentsync.training.few_step_data import Hearing

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


def teach(ear: Ear, clips: Iterable[AnyClip], hearing: Hearing, sounds: int, seed: int, config: WarmUpConfig,
          held_out: Iterable[AnyClip] = ()) -> dict[str, float]:  # fmt: skip
    """Teach an ear's code the shape of the lips, relative to each clip's mean.

    Args:
        ear: of a U-Net; changed in place.
        sounds: versions of each clip's sound.
    Returns: `r_train`, `r_held_out`: correlation of the lip opening that the ear tells with the real one, per clip.
    """
    everything = [(hearing_of(clip, hearing, sounds), _movement(clip)) for clip in clips]
    shapes = torch.cat([shape for _, shape in everything])
    basis = torch.linalg.svd(shapes[::3], full_matrices=False).Vh[: ear.head.out_features]
    scale = (shapes @ basis.T).std(0)
    scale = scale.clamp_min(1e-3 * float(scale.max()))  # shapes that never occur are not worth a loss
    heard = torch.cat([torch.cat([version[: len(shape)] for version in versions]) for versions, shape in everything])
    wanted = torch.cat([(shape @ basis.T / scale).repeat(len(versions), 1) for versions, shape in everything])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(ear, heard, wanted, config)
    out = {"r_train": told_r(ear, basis, scale, clips, hearing)}
    held = list(held_out)
    return out | ({"r_held_out": told_r(ear, basis, scale, held, hearing)} if held else {})


def hearing_of(clip: AnyClip, hearing: Hearing, sounds: int) -> list[Tensor]:
    """(F, K·D) float16 of each version of a clip's sound."""
    return [hearing(clip, version).flatten(1) for version in range(sounds)]


def _movement(clip: AnyClip) -> Tensor:
    shape = lip_shape(np.asarray(clip.mesh[: num_frames(clip)]))
    return torch.from_numpy(shape - shape.mean(axis=0)).float()


def _fit(ear: Ear, heard: Tensor, wanted: Tensor, c: WarmUpConfig) -> None:
    """Regression on standardised values; in the end the scale is folded into the first layer."""
    mean, spread = heard.float().mean(0), heard.float().std(0).clamp_min(1e-3)
    layers = [ear.linear_1, ear.linear_2, ear.head]
    parameters = [p for layer in layers for p in layer.parameters()]
    was_trainable = [p.requires_grad for p in parameters]
    for layer in layers:
        layer.reset_parameters()
        layer.requires_grad_(True)
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
        loss = ((ear.head(x) - wanted[rows]).square() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        ear.linear_1.weight.div_(spread)
        ear.linear_1.bias.sub_(ear.linear_1.weight @ mean)
    for parameter, trainable in zip(parameters, was_trainable, strict=True):
        parameter.requires_grad_(trainable)


@torch.no_grad()
def told_r(ear: Ear, basis: Tensor, scale: Tensor, clips: Iterable[AnyClip], hearing: Hearing) -> float:
    """Mean over clips of the correlation of told and real lip opening."""
    upper, lower = ([mesh.LIPS.index(pair[k]) + len(mesh.LIPS) for pair in mesh.INNER_LIP_PAIRS] for k in (0, 1))
    found = []
    for clip in clips:
        real = lip_opening(np.asarray(clip.mesh[: num_frames(clip)]))
        told = (ear.code(hearing(clip).flatten(1).float()) * scale) @ basis
        found.append(correlation((told[:, lower] - told[:, upper]).mean(1).numpy()[: len(real)], real))
    return float(np.nanmean(found))
