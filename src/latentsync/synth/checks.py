"""Tests of lip sync that exact truth makes possible: known offsets, known mismatches, lip gaps, closures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float
from latentsync.synth.speech.phones import CLOSED, Phone

FPS = 25
OUTER_EYES, INNER_LIPS = (36, 45), (62, 66)


def shift_audio(audio: Float, frames: int) -> Float:
    """The same sound `frames` video frames later (negative = earlier), silence filled in, length kept.

    A judge that says how far the sound lags behind the picture must answer `frames` more than for the original.
    """
    n = frames * SPEECH_RATE_HZ // FPS
    out = np.zeros_like(audio)
    if n >= 0:
        out[n:] = audio[: len(audio) - n]
    else:
        out[:n] = audio[-n:]
    return out


def mismatched(num: int, rng: np.random.Generator) -> list[int]:
    """For each of `num` (≥ 2) clips the number of another one: no clip keeps its own sound, each sound is used once."""
    if num < 2:
        raise ValueError("mismatched: two clips are needed at least")
    order = rng.permutation(num)
    out = np.empty(num, int)
    out[order] = np.roll(order, 1)
    return [int(k) for k in out]


def lip_gap(landmarks: Float) -> Float:
    """(F,) inner-lip distance over the distance of the outer eye corners, from (F, 68, 2) landmarks."""
    eyes = np.linalg.norm(landmarks[:, OUTER_EYES[0]] - landmarks[:, OUTER_EYES[1]], axis=-1)
    gap = np.linalg.norm(landmarks[:, INNER_LIPS[0]] - landmarks[:, INNER_LIPS[1]], axis=-1)
    return (gap / np.maximum(eyes, 1e-6)).astype(np.float32)


def closure_rate(gap: Float, phones: Sequence[Phone], limit: float = 0.25) -> tuple[float, int]:
    """How often lips that should be closed are.

    Args:
        gap: (F,) any measure of the mouth's opening at the frame times i/25.
        limit: a closure counts where the gap is under this share of the gap's 90th percentile.
    Returns: share of p, b, m whose smallest gap over the frames nearest to the phone's centre (± 1) is closed, 0.0
        where there are none; and their number.
    """
    top = float(np.percentile(gap, 90))
    hits = []
    for p in phones:
        i = round(p.centre_s * FPS)
        if p.name in CLOSED and 0 <= i < len(gap):
            hits.append(gap[max(i - 1, 0) : i + 2].min() < limit * top)
    return (float(np.mean(hits)) if hits else 0.0), len(hits)
