"""What a mouth does, in a few numbers read off the face mesh; the lip predictor of a small U-Net is taught to tell
them.

Gradients through a generator reach its lip_predictor last: on two CPU cores 1,600 steps from scratch explained a tenth
of how mouths move. The shape of the lips is known from the face mesh, so the lip predictor can be taught it alone
within a minute; and the generator can be told it during its training, and so learns to draw exactly the mouth that it
is reported, instead of the average of all mouths that fit the speech. Nothing of this is left at run time: there the
lip predictor alone tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.core.errors import WeightsError
from latentsync.faces import topology as mesh
from latentsync.metrics.lips import correlation, lip_opening
from latentsync.models.lip_predictor import LipPredictor
from latentsync.training.datasets import AnyClip, content_of, num_frames
from latentsync.training.datasets.audio_features import ClipAudioFeatures

BATCH = 512
POSES = 3
"""Principal movements of the still points that count as the head's turn: 97 % of their variance (11 GRID speakers, a
president, 90 synthetic heads)."""
LEAST_TURN = 1e-6
"""Turns with less than about this share of the variance explain nothing: rounding is not movement."""
CLOSED = 0.1
"""Share of a clip's frames that count as closed mouths."""
MEANING = ("poses", "effect", "basis", "scale")
LEAST_SPREAD = 0.1
"""Shapes that spread less than this share of the main one's are reported in its unit: hardly at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUpConfig:
    """How the lip predictor is taught.

    Attributes:
        steps: of 512 frames; 0 = no warm-up.
        learning_rate, weight_decay: AdamW's; the rate falls along a half cosine.
        dropout: share of hidden values left out.
        noise: on the audio features, times its spread, drawn per frame from 0 to this.
        silent: share of examples that hear silence and are taught a closed mouth, code 0. Clips hardly hold digital
            silence, and their pauses are full of open mouths.
    """

    steps: int = 1500
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    noise: float = 0.5
    silent: float = 0.05


def _in_face_frame(meshes: np.ndarray, points: Sequence[int], origin: np.ndarray) -> np.ndarray:
    """Points (F, n) of meshes (F, 468, 2) about `origin` (F, 2) → (F, 2n): all along, then all down the face.

    Unit: the median distance of the outer corners of the eyes.
    """
    across = meshes[:, mesh.RIGHT_EYE_OUTER] - meshes[:, mesh.LEFT_EYE_OUTER]
    distance = np.hypot(across[:, 0], across[:, 1])[:, None]
    along = across / distance
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    away = (meshes[:, list(points)] - origin[:, None]) / np.median(distance)
    return np.concatenate([(away * along[:, None]).sum(-1), (away * down[:, None]).sum(-1)], axis=1)


def lip_shape(meshes: np.ndarray) -> np.ndarray:
    """Lip points about the base of the nose: (F, 468, 2) in pixels → (F, 80), unit: distance of the outer eye corners.

    Along the face first, then down it; the head's place, size and roll play no part.
    """
    points = np.asarray(meshes, np.float64)
    return _in_face_frame(points, mesh.LIPS, points[:, list(mesh.NOSE_BASE)].mean(axis=1))


def head_turn(meshes: np.ndarray) -> np.ndarray:
    """Points that speech does not move, about the middle of the eyes: (F, 468, 2) in pixels → (F, 38)."""
    points = np.asarray(meshes, np.float64)
    eyes = (points[:, mesh.LEFT_EYE_OUTER] + points[:, mesh.RIGHT_EYE_OUTER]) / 2
    return _in_face_frame(points, mesh.RIGID, eyes)


def mirrored(values: Tensor, order: Sequence[int]) -> Tensor:
    """(F, 2n), along then down, of the mirror image; `order`: `mesh.MIRRORED_LIPS` or `mesh.MIRRORED_RIGID`."""
    along, down = values.chunk(2, dim=1)
    return torch.cat([-along[:, list(order)], down[:, list(order)]], dim=1)


class LipParameterBasis:
    """Lip shapes about a clip's closed mouth, without what the head's turn explains, as standardised principal shapes.

    Without the correction a third of the variance of lip points is nodding, which no speech tells. A turn explains what
    it does to a mouth that stays as open and as wide as it is: the tracker moves the nose and the forehead a little
    when a mouth opens, and a plain regression would call 40 % of the opening's variance a turn of the head (GRID).
    Zero is a closed mouth: the mean of the least open `CLOSED` of a clip. So silence has the same code for everybody,
    and how much of a clip is silent plays no part.
    """

    def __init__(self, clips: Iterable[AnyClip], size: int) -> None:
        """Learn from clips. Args: size: numbers of the code."""
        shapes, turns = (torch.cat(parts) for parts in zip(*(_movements(_meshes(clip)) for clip in clips), strict=True))
        self.poses = torch.linalg.svd(turns[::3], full_matrices=False).Vh[:POSES].T
        predicted = torch.cat([turns @ self.poses, _mouth(shapes)], dim=1).double()
        gram = predicted.T @ predicted
        gram += LEAST_TURN * gram.trace() * torch.eye(len(gram), dtype=gram.dtype)
        self.effect = torch.linalg.solve(gram, predicted.T @ shapes.double())[:POSES].float()
        free = shapes - turns @ self.poses @ self.effect
        self.basis = torch.linalg.svd(free[::3], full_matrices=False).Vh[:size]
        scale = (free @ self.basis.T).std(0)
        self.scale = scale.clamp_min(LEAST_SPREAD * float(scale.max()))
        self._known: dict[tuple[str, bool], Tensor] = {}

    @property
    def motion(self) -> Tensor:
        """(size, 80) what a step of each number does to `lip_shape`."""
        return self.scale[:, None] * self.basis

    def tensors(self) -> dict[str, Tensor]:
        """What the code means: `poses` (38, 3), `effect` (3, 80), `basis` (size, 80), `scale` (size,)."""
        return {name: getattr(self, name).contiguous() for name in MEANING}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LipParameterBasis:
        """What `tensors` gave: a code learnt before, from other clips perhaps.

        Raises: WeightsError: something is missing, or there is more.
        """
        if set(tensors) != set(MEANING):
            raise WeightsError(
                f"code of the lips: {sorted(tensors)}, not {sorted(MEANING)}. Take that of `train lip_predictor`"
            )
        made = cls.__new__(cls)
        for name in MEANING:
            setattr(made, name, tensors[name].float())
        made._known = {}
        return made

    def __call__(self, clip: AnyClip, flip: bool = False) -> Tensor:
        """(F, size) of a clip, or of its mirror image."""
        key = content_of(clip), flip
        if key not in self._known:
            self._known[key] = self.about_closed(self.of(_meshes(clip), flip))
        return self._known[key]

    def of(self, meshes: np.ndarray, flip: bool = False) -> Tensor:
        """(F, size) of meshes (F, 468, 2) of one person, about their mean; NaN without a face is not allowed."""
        shapes, turns = _movements(meshes)
        if flip:
            shapes, turns = mirrored(shapes, mesh.MIRRORED_LIPS), mirrored(turns, mesh.MIRRORED_RIGID)
        return (shapes - turns @ self.poses @ self.effect) @ self.basis.T / self.scale

    def about_closed(self, code: Tensor) -> Tensor:
        """(F, size) of a clip, about the mean of its least open `CLOSED`."""
        opening = self.opening(code)
        return code - code[opening <= opening.quantile(CLOSED)].mean(0)

    def opening(self, code: Tensor) -> Tensor:
        """(F, size) → (F,) lip opening about that of a closed mouth, in eye distances."""
        return _opening(code @ self.motion)

    def width(self, code: Tensor) -> Tensor:
        """(F, size) → (F,) distance of the inner corners about that of a closed mouth, in eye distances."""
        return _width(code @ self.motion)


def _mouth(shapes: Tensor) -> Tensor:
    """(F, 80) → (F, 2): how far the lips are open and how wide the mouth is."""
    return torch.stack([_opening(shapes), _width(shapes)], dim=1)


def _width(shapes: Tensor) -> Tensor:
    """(F, 80) → (F,): distance of the inner corners of the lips."""
    left, right = (mesh.LIPS.index(point) for point in mesh.INNER_LIP_CORNERS)
    return shapes[:, right] - shapes[:, left]


def _opening(shapes: Tensor) -> Tensor:
    """(F, 80) → (F,): gap of the inner lips."""
    upper, lower = ([mesh.LIPS.index(pair[k]) + len(mesh.LIPS) for pair in mesh.INNER_LIP_PAIRS] for k in (0, 1))
    return (shapes[:, lower] - shapes[:, upper]).mean(1)


def _meshes(clip: AnyClip) -> np.ndarray:
    return np.asarray(clip.mesh[: num_frames(clip)])


def _movements(meshes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Lip shapes (F, 80) and turns of the head (F, 38) of meshes (F, 468, 2), about their means."""
    both = (lip_shape(meshes), head_turn(meshes))
    shapes, turns = (torch.from_numpy(values - values.mean(axis=0)).float() for values in both)
    return shapes, turns


def teach(
    lip_predictor: LipPredictor,
    clips: Sequence[AnyClip],
    lips: LipParameterBasis,
    hearing: ClipAudioFeatures,
    sounds: int,
    seed: int,
    config: WarmUpConfig,
    held_out: Iterable[AnyClip] = (),
) -> dict[str, float]:
    """Teach a lip predictor the code of the lips.

    Args:
        lip_predictor: of a U-Net; changed in place.
        sounds: versions of each clip's sound.
    Returns: `r_train`, `r_held_out`: correlation of the lip opening that the lip predictor tells with the real one, per
    clip;
        `told_K`: share of the variance of number K of the code that the lip predictor tells of held-out people.
    """
    audio_features, wanted = [], []
    for clip in clips:
        code = lips(clip)
        for version in range(sounds):
            each = hearing(clip, version).flatten(1)
            audio_features.append(each[: len(code)])
            wanted.append(code[: len(each)])
    if config.silent > 0:
        silence = hearing.silence().flatten(1)
        times = max(1, round(config.silent / (1 - config.silent) * sum(map(len, audio_features)) / len(silence)))
        audio_features.append(silence.repeat(times, 1))
        wanted.append(torch.zeros(len(audio_features[-1]), wanted[0].shape[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(lip_predictor, torch.cat(audio_features), torch.cat(wanted), config)
    out = {"r_train": predicted_r(lip_predictor, lips, clips, hearing)}
    held = list(held_out)
    if held:
        out["r_held_out"] = predicted_r(lip_predictor, lips, held, hearing)
        with torch.no_grad():
            predicted = torch.cat(
                [lip_predictor.code(hearing(clip).flatten(1).float())[: len(lips(clip))] for clip in held]
            )
        real = torch.cat([lips(clip)[: len(hearing(clip))] for clip in held])
        left = (predicted - real).square().sum(0) / real.square().sum(0)
        out |= {f"told_{k}": float(1 - left[k]) for k in range(min(4, len(left)))}
    return out


def _fit(lip_predictor: LipPredictor, audio_features: Tensor, wanted: Tensor, c: WarmUpConfig) -> None:
    """Regression on standardised values; in the end the scale is folded into the first layer."""
    mean, spread = audio_features.float().mean(0), audio_features.float().std(0).clamp_min(1e-3)
    layers = [lip_predictor.linear_1, lip_predictor.linear_2, lip_predictor.head]
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
        rows = torch.randint(len(audio_features), (BATCH,))
        x = (audio_features[rows].float() - mean) / spread
        x = x + c.noise * torch.rand(BATCH, 1) * torch.randn_like(x)
        for layer in layers[:-1]:
            x = functional.dropout(functional.silu(layer(x)), c.dropout)
        loss = ((lip_predictor.head(x) - wanted[rows]).square() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        lip_predictor.linear_1.weight.div_(spread)
        lip_predictor.linear_1.bias.sub_(lip_predictor.linear_1.weight @ mean)
    for parameter, trainable in zip(parameters, was_trainable, strict=True):
        parameter.requires_grad_(trainable)


@torch.no_grad()
def predicted_r(
    lip_predictor: LipPredictor, lips: LipParameterBasis, clips: Iterable[AnyClip], hearing: ClipAudioFeatures
) -> float:
    """Mean over clips of the correlation of told and real lip opening."""
    found = []
    for clip in clips:
        real = lip_opening(np.asarray(clip.mesh[: num_frames(clip)]))
        predicted = lips.opening(lip_predictor.code(hearing(clip).flatten(1).float())).numpy()
        count = min(len(predicted), len(real))
        found.append(correlation(predicted[:count], real[:count]))
    return float(np.nanmean(found))
