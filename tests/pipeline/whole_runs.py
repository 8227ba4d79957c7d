"""Small films with one planted face, and what is read back from them, for the tests of whole runs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

import planted
import synth_media
from latentsync.media import VideoReader

SIZE = (160, 120)
ONE = [(80, 60, 80)]
WAVE = synth_media.tone(2.0, 16000, 1)[0]


def sound(path: Path, seconds: float, channels: int = 1, codec: str = "pcm_s16le") -> Path:
    return synth_media.make_sound(path, synth_media.tone(seconds, 48000, channels), codec, 48000)


def film(path: Path, num_frames: int = 10, squares: list[planted.Square] | None = None) -> Path:
    squares = ONE if squares is None else squares
    return planted.film(path, [planted.picture(SIZE, squares)] * num_frames)


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.picture.rgb() for frame in reader]


def times(path: Path) -> list[Fraction]:
    with VideoReader(path) as reader:
        return [frame.time_s for frame in reader]


def arrays(num_frames: int, squares: list[planted.Square] | None = None) -> list[np.ndarray]:
    return [planted.picture(SIZE, ONE if squares is None else squares)] * num_frames
