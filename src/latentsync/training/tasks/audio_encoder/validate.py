"""What an audio encoder's states tell a straight line: which phone is spoken, how far the lips are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.audio.windows import frame_windows
from latentsync.metrics.lips import correlation, lip_opening
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.synth.speech.phones import SILENCE
from latentsync.training.datasets import AnyClip, num_frames
from latentsync.training.datasets.speech import CLASSES, Sound

RIDGE = 0.1
"""Weight of the penalty, as a share of the number of samples, on inputs of variance 1."""
WIDTH, HEIGHT = 720, 90


@dataclass(frozen=True)
class Ridge:
    """A linear map y = ((x − mean) / spread) @ weights + level."""

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    level: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> Ridge:
        """x (n, d), y (n, k) float."""
        mean, spread = x.mean(0), x.std(0) + 1e-6
        scaled, level = ((x - mean) / spread).astype(np.float64), y.mean(0)
        gram = scaled.T @ scaled + RIDGE * len(x) * np.eye(x.shape[1])
        return cls(mean, spread, np.linalg.solve(gram, scaled.T @ (y - level)), level)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) → (n, k)."""
        return ((x - self.mean) / self.spread) @ self.weights + self.level


def states_of(audio_encoder: AudioEncoder, wave: np.ndarray) -> Tensor:
    """(T, L, D) float32: what the audio encoder hears, as in the pipeline."""
    return StreamingAudioEncoder(audio_encoder).states(sound_of(wave)).float().cpu()


@dataclass(frozen=True)
class PhoneScore:
    """Shares of wrong frames on unseen voices: all of them, those in which something is said, and for chance the
    latter if the commonest phone were always said."""

    error: float
    spoken_error: float
    chance: float


def phone_score(audio_encoder: AudioEncoder, known: Sequence[Sound], unseen: Sequence[Sound]) -> PhoneScore:
    """A linear map from states to phones, fitted on known voices and judged on unseen ones, 50 frames a second."""
    x, labels = _states_and_phones(audio_encoder, known)
    reader = Ridge.fit(x, np.eye(len(CLASSES))[labels])
    x, wanted = _states_and_phones(audio_encoder, unseen)
    said = reader(x).argmax(1)
    spoken = wanted != CLASSES.index(SILENCE)
    commonest = np.bincount(labels[labels != CLASSES.index(SILENCE)]).argmax()
    return PhoneScore(
        error=float((said != wanted).mean()),
        spoken_error=float((said != wanted)[spoken].mean()),
        chance=float((wanted[spoken] != commonest).mean()),
    )


def _states_and_phones(audio_encoder: AudioEncoder, sounds: Sequence[Sound]) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = [], []
    for sound in sounds:
        states = states_of(audio_encoder, sound.at_speed(1.0)).flatten(1).numpy()
        xs.append(states)
        ys.append(sound.labels(1.0, len(states)))
    return np.concatenate(xs), np.concatenate(ys)


@dataclass(frozen=True)
class LipScore:
    """`r`: mean over clips of the correlation of read and seen opening; NaN where no clip has a face mesh.
    `curves`: clip → (seen, read)."""

    r: float
    curves: dict[str, tuple[np.ndarray, np.ndarray]]


def lip_score(audio_encoder: AudioEncoder, known: Sequence[AnyClip], unseen: Sequence[AnyClip]) -> LipScore:
    """A linear map from what a frame hears to the opening of the lips, fitted on known people and judged on others."""
    xs, ys = [], []
    for clip in known:
        student_states, opening = _student_states_and_opening(audio_encoder, clip)
        there = np.isfinite(opening)
        if there.sum() > 10:
            xs.append(student_states[there])
            ys.append(opening[there] - opening[there].mean())
    if not xs or not np.concatenate(ys).std() > 0:
        return LipScore(float("nan"), {})
    reader = Ridge.fit(np.concatenate(xs), np.concatenate(ys)[:, None])
    curves = {}
    for clip in unseen:
        student_states, opening = _student_states_and_opening(audio_encoder, clip)
        curves[clip.path.name] = (opening, reader(student_states)[:, 0])
    found = [correlation(*pair) for pair in curves.values()]
    return LipScore(float(np.nanmean(found)) if np.isfinite(found).any() else float("nan"), curves)


def _student_states_and_opening(audio_encoder: AudioEncoder, clip: AnyClip) -> tuple[np.ndarray, np.ndarray]:
    """(F, 10·L·D) and (F,): NaN without a face."""
    count = num_frames(clip)
    states = states_of(audio_encoder, np.array(clip.wave))
    student_states = frame_windows(states, [Fraction(i, 25) for i in range(count)]).flatten(1).numpy()
    return student_states, lip_opening(np.asarray(clip.mesh))[:count]


def explained(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Share of the variance of wanted states that the heard ones explain: 1 − error / variance, over all pairs."""
    wanted = torch.cat([pair[1] for pair in pairs])
    error = torch.cat([(student_states - want).square() for student_states, want in pairs]).sum()
    return float(1 - error / (wanted - wanted.mean(0)).square().sum())


def curves_picture(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Seen (blue) and read (orange) opening of each clip, one below the other: (H, 720, 3) uint8."""
    sheets = []
    for name, pair in curves.items():
        sheet = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
        for values, colour in zip(pair, ((38, 96, 164), (201, 98, 32)), strict=True):
            level = np.nan_to_num((values - np.nanmean(values)) / (np.nanstd(pair[0]) + 1e-6))
            ys = HEIGHT / 2 - np.clip(level, -3, 3) * HEIGHT / 7
            points = np.stack([np.linspace(0, WIDTH - 1, len(ys)), ys], axis=1).round().astype(np.int32)
            cv2.polylines(sheet, [points], False, colour, 2, cv2.LINE_AA)
        text = f"{name} r {correlation(*pair):.2f}"
        cv2.putText(sheet, text, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
        sheets.append(sheet)
    return np.concatenate(sheets)
