"""How well a SyncNet hears and sees together, on clips of people it has not met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentsync.models.syncnet import SyncNet
from latentsync.training.datasets import AnyClip, Mixture
from latentsync.training.engine.task import rng_of
from latentsync.training.tasks.syncnet.objective import as_input

MAX_SHIFT = 10
"""Frames searched on either side."""
BATCH = 32

Windows = Callable[[AnyClip, "Sequence[int] | np.ndarray"], np.ndarray]
"""(clip, starts) → one array for each window."""


@dataclass(frozen=True)
class ClipScore:
    """What a network says about one clip of N windows, P of which were looked at.

    Attributes:
        right: (P,) cosine of each picture window with its own sound.
        wrong: (P,) with the sound of another time of the clip, drawn evenly.
        curve: (21,) mean cosine with the sound −10 … +10 frames later; NaN where no window reaches.
        best: (P,) shift at which each window alone fits best, frames; far from the ends of the clip only.
    """

    right: np.ndarray
    wrong: np.ndarray
    curve: np.ndarray
    best: np.ndarray

    @property
    def offset_frames(self) -> int:
        """Positive = the sound that fits lies later in the clip."""
        return int(np.nanargmax(self.curve)) - MAX_SHIFT

    @property
    def confidence(self) -> float:
        """Median distance less the least one over the shifts, as SyncNet's, of the distance 1 − cosine."""
        return float(np.nanmax(self.curve) - np.nanmedian(self.curve))


def chosen(mixture: Mixture, most: int) -> dict[str, list[AnyClip]]:
    """At most `most` clips of each source, people in turn; always the same ones."""
    out = {}
    for source in mixture.sources:
        turns = [list(clips) for clips in source.by_person.values()]
        picked: list[AnyClip] = []
        for turn in range(max(map(len, turns))):
            picked += [clips[turn] for clips in turns if turn < len(clips)]
        out[source.name] = picked[:most]
    return out


class Eyes:
    """Embeds windows of clips with a network, on its device, in evaluation mode."""

    def __init__(self, network: SyncNet, bf16: bool) -> None:
        self.network, self.bf16 = network, bf16
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def embed(self, encoder: str, windows: np.ndarray) -> np.ndarray:
        """(n, C, H, W) → (n, D) unit vectors. `encoder`: "visual" or "audio"."""
        network = getattr(self.network, f"{encoder}_encoder")
        parts = []
        for start in range(0, len(windows), BATCH):
            x = as_input(torch.from_numpy(np.ascontiguousarray(windows[start : start + BATCH]))).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                hidden = network(x)
            parts.append(torch.nn.functional.normalize(hidden.float(), dim=1).cpu().numpy())
        return np.concatenate(parts)


def score_clip(
    eyes: Eyes, clip: AnyClip, num_starts: int, every: int, pictures: Windows, sounds: Windows, seed: int
) -> ClipScore:
    """Judge one clip; `num_starts` windows fit into it."""
    at = np.arange(0, num_starts, every)
    cosine = eyes.embed("visual", pictures(clip, at)) @ eyes.embed("audio", sounds(clip, range(num_starts))).T
    rows, rng = np.arange(len(at)), rng_of(seed, num_starts)
    other = (at + rng.integers(1, num_starts, len(at))) % num_starts if num_starts > 1 else at
    shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    there = at[:, None] + shifts[None]
    inside = (there >= 0) & (there < num_starts)
    values = np.where(inside, cosine[rows[:, None], there.clip(0, num_starts - 1)], np.nan)
    reached = inside.any(axis=0)
    curve = np.full(len(shifts), np.nan)
    curve[reached] = np.nanmean(values[:, reached], axis=0)
    whole = inside.all(axis=1)
    best = shifts[values[whole].argmax(axis=1)] if whole.any() else np.zeros(0, int)
    return ClipScore(cosine[rows, at], cosine[rows, other], curve, best)


def figures_of(scores: Sequence[ClipScore], prefix: str) -> dict[str, float]:
    """Figures of some clips.

    `accuracy`: of (cosine > 0.5) over as many right as wrong pairs; `paired`: share of right pairs above their wrong
    one; `offset_accuracy`: clips whose best shift is within a frame of 0; `window_offset_accuracy`: the same for single
    windows; `confidence`: mean of the clips'; `loss`: cross-entropy of those pairs, 0.69 at chance.
    """
    right, wrong = (np.concatenate([getattr(score, name) for score in scores]) for name in ("right", "wrong"))
    best = np.concatenate([score.best for score in scores])
    loss = -(np.log(right.clip(1e-6, 1)).mean() + np.log((1 - wrong).clip(1e-6, 1)).mean()) / 2
    figures = {
        "loss": float(loss),
        "accuracy": float(((right > 0.5).mean() + (wrong <= 0.5).mean()) / 2),
        "paired": float((right > wrong).mean() + 0.5 * (right == wrong).mean()),
        "offset_accuracy": float(np.mean([abs(score.offset_frames) <= 1 for score in scores])),
        "confidence": float(np.mean([score.confidence for score in scores])),
    }
    if len(best):
        figures["window_offset_accuracy"] = float((np.abs(best) <= 1).mean())
    return {f"{prefix}/{name}": value for name, value in figures.items()}


def offsets_of(scores: Mapping[str, Sequence[ClipScore]]) -> dict[str, np.ndarray]:
    """Source → offset of each clip, frames."""
    return {name: np.array([score.offset_frames for score in own]) for name, own in scores.items()}
