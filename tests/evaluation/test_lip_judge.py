"""The judge of the package at every rate: sound that is moved by k frames is found k frames later, with its sign."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import latentsync
from latentsync.evaluation.networks import lip_judge
from latentsync.evaluation.scoring import LipsJudge
from latentsync.evaluation.watching import Watched, watch
from latentsync.faces import MeshTracker
from latentsync.media.audio import read_audio

SAMPLE = Path(latentsync.__file__).parent / "assets" / "sample" / "talk.mp4"
NEAR_MS = 6.0


@pytest.fixture(scope="module")
def judge() -> LipsJudge:
    return lip_judge()


@pytest.fixture(scope="module")
def sample() -> Watched:
    return watch(SAMPLE, MeshTracker(), 64, max_frames=125)


def later(wave: np.ndarray, seconds: float) -> np.ndarray:
    count = round(abs(seconds) * 16000)
    out = np.zeros_like(wave)
    if seconds >= 0:
        out[count:] = wave[: len(wave) - count]
    else:
        out[: len(wave) - count] = wave[count:]
    return out


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)])
def test_sound_moved_by_frames_is_found_as_many_frames_later(judge: LipsJudge, sample: Watched, fps: Fraction) -> None:
    wave = read_audio(SAMPLE)
    times_s = np.arange(int(sample.times_s[-1] * fps)) / float(fps)
    shown = sample.at(times_s)  # the frame that is nearest, as a converter repeats and drops them
    start = judge(shown, wave)
    assert start is not None and abs(start.late_s) < 0.025
    for frames in (-7, -2, 1, 4, 9):
        moved = judge(shown, later(wave, frames / float(fps)))
        assert moved is not None
        assert 1000 * (moved.late_s - start.late_s) == pytest.approx(1000 * frames / float(fps), abs=NEAR_MS)
