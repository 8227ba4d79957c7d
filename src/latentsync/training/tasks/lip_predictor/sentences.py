"""Sentences that nobody was drawn for: synthetic speech with the code of the lips that its face shapes would give.

A synthetic head moves its lips by a few face shapes, which follow from the phones alone. How shapes become the code of
the lips is read off synthetic clips whose truth is at hand; then speech costs a hundredth of what pictures cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.core.errors import ConfigError
from latentsync.synth.truth import Truth
from latentsync.synth.visemes import SpeakingStyle, articulate, mouth_shapes
from latentsync.training.datasets import AnyClip, ArrayCache
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.datasets.seen import Piece

ELSEWHERE = ("brow", "eye", "cheek", "nose")
"""Shapes whose names begin so move no lips."""
RIDGE = 1e-3
FPS = 25


@dataclass(frozen=True)
class Lesson:
    """Audio features and what the lips do meanwhile.

    Attributes:
        wave: (S,) float32, 16 kHz.
        code: (F, n) float32, see `LipParameterBasis`.
    """

    wave: np.ndarray
    code: np.ndarray


@dataclass(frozen=True, eq=False)
class ShapesToParameters:
    """A quadratic map from face shapes to the code of the lips. `weights`: (2·N + 1, n)."""

    names: tuple[str, ...]
    weights: np.ndarray

    @classmethod
    def learn(cls, clips: Iterable[AnyClip], lips: LipParameterBasis, folders: Sequence[Path]) -> ShapesToParameters:
        """From the clips whose truth lies in one of the folders under the name of their source.

        Raises: ConfigError: there is none.
        """
        names: tuple[str, ...] = ()
        predicted, wanted = [], []
        for clip in clips:
            truth = _truth_of(clip, folders)
            if truth is None:
                continue
            names = names or tuple(n for n in truth.shape_names if not n.lower().startswith(ELSEWHERE))
            first = clip.first if isinstance(clip, Piece) else 0
            code = lips(clip)
            shapes = truth.shapes[first : first + len(code), [truth.shape_names.index(name) for name in names]]
            code = code[: len(shapes)]
            terms, opening = _terms(shapes, names), lips.opening(code).numpy()
            predicted.append(terms - terms[np.argsort(opening)[: max(1, len(code) // 10)]].mean(0))
            wanted.append(code.numpy())
        if not predicted:
            places = ", ".join(map(str, folders))
            raise ConfigError("task.sentences.truth", places, "no clip's truth is there; name the folder of `synth`")
        x = np.concatenate(predicted).astype(np.float64)
        gram = x.T @ x + RIDGE * len(x) * np.diag(x.var(0) + 1e-6)
        return cls(names, np.linalg.solve(gram, x.T @ np.concatenate(wanted)))

    def __call__(self, shapes: dict[str, np.ndarray], lips: LipParameterBasis) -> np.ndarray:
        """Face shapes (F,) by name → (F, n) float32 about the closed mouth."""
        length = len(next(iter(shapes.values())))
        table = np.stack([np.asarray(shapes.get(name, np.zeros(length))) for name in self.names], axis=1)
        code = torch.from_numpy(_terms(table, self.names) @ self.weights).float()
        return lips.about_closed(code).numpy()


def _terms(shapes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(F, N) → (F, 2·N + 1): shapes, what closing does to an open jaw, squares."""
    jaw, close = (shapes[:, [names.index(name)]] for name in ("jawOpen", "mouthClose"))
    return np.concatenate([shapes, jaw * close, shapes**2], axis=1)


def _truth_of(clip: AnyClip, folders: Sequence[Path]) -> Truth | None:
    facts = (clip.clip if isinstance(clip, Piece) else clip).path / "meta.json"
    if not facts.is_file():
        return None
    source = json.loads(facts.read_text("utf-8")).get("source")
    if not source:
        return None
    for folder in folders:
        stem = folder / Path(source).stem
        if stem.with_suffix(".npz").is_file():
            return Truth.load(stem)
    return None


def speak_lessons(
    count: int, seconds: float, seed: int, shapes: ShapesToParameters, lips: LipParameterBasis, cache: ArrayCache
) -> list[Lesson]:
    """Sentences by the voices that are installed, spoken once and kept in the cache."""
    from latentsync.synth.speech.speaker import available_engines, speak

    engines = available_engines()
    frames = round(seconds * FPS)
    lessons = []
    for number in range(count):

        def make(number: int = number) -> np.ndarray:
            voice, face = np.random.default_rng([seed, number]).spawn(2)
            said = speak(voice, seconds, bool(number % 2), engines)
            style = SpeakingStyle.sample(face)
            weights, _ = mouth_shapes(articulate(said.phones, np.arange(frames) / FPS, style), style)
            code = shapes(weights, lips)
            return np.concatenate([np.array([code.shape[1]]), code.ravel(), said.audio]).astype(np.float32)

        made_from = (str((seconds, seed, number)), *engines, repr(shapes.weights.sum()), repr(lips.scale.tolist()))
        both = np.array(cache.get("lip-sentence", made_from, make))
        size = int(both[0])
        code, wave = np.split(both[1:], [frames * size])
        lessons.append(Lesson(wave, code.reshape(frames, size)))
    return lessons


def spread_of(lips: LipParameterBasis, code: Tensor) -> float:
    """Standard deviation of the lip opening that a code tells."""
    return float(lips.opening(code).std())
