"""Exact pieces of a source's sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.core.errors import EmptyAudioError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float
from latentsync.data.clip import Clip
from latentsync.media.audio import read_audio


def sound_span(clip: Clip, start_s: Fraction, num_samples: int) -> tuple[Float, np.ndarray]:
    """(S,) float32 mono 16 kHz of a clip's source from `start_s`, which may lie before 0, and (S,) bool: the source has
    this sample. Of several sound tracks the one that `Probe` chose is heard.

    Samples the source does not have are zero.
    """
    path, number = Path(clip.source.path), clip.facts.get("sound_track")
    track = None if number is None else str(number)
    before = min(max(0, round(-start_s * SPEECH_RATE_HZ)), num_samples)
    wave, known = np.zeros(num_samples, np.float32), np.zeros(num_samples, bool)
    if before == num_samples:
        return wave, known
    from_s = max(start_s, Fraction(0))
    try:
        found = read_audio(path, from_s, from_s + Fraction(num_samples - before, SPEECH_RATE_HZ), track)
    except EmptyAudioError:  # it ends before
        return wave, known
    end = before + min(len(found), num_samples - before)
    wave[before:end], known[before:end] = found[: end - before], True
    return wave, known
