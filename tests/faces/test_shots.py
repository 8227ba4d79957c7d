"""Cuts are found where they are; flashes, pans and lights are none."""

from __future__ import annotations

import numpy as np
import pytest
from face_scenes import load, place, textured, video, wall

from latentsync.core.errors import ConfigError
from latentsync.faces.shots import ShotConfig, ShotDetector


def marks(images: list[np.ndarray]) -> list[int]:
    return [frame.index for frame, begins in ShotDetector().mark(video(images)) if begins]


def scene(kind: int, length: int) -> list[np.ndarray]:
    """A head that sways before one of three backgrounds."""
    head = load("bald" if kind % 2 else "dark_hair")
    back = (wall(240, 200), textured(240, 200, 3, 9.0), wall(240, 200, 60))[kind]
    return [place(back, head, 50 + 3 * (i % 8) + 20 * kind, 30, 130) for i in range(length)]


def test_cuts_between_scenes() -> None:
    assert marks(scene(0, 12) + scene(1, 9) + scene(2, 7) + scene(0, 5)) == [0, 12, 21, 28]


def test_a_cut_just_before_the_end_and_just_after_the_start() -> None:
    assert marks(scene(0, 12) + scene(1, 1)) == [0, 12]
    assert marks(scene(0, 1) + scene(1, 10)) == [0, 1]


@pytest.mark.parametrize("length", [1, 2])
def test_a_flash_is_no_cut(length: int) -> None:
    images = scene(0, 20)
    for i in range(9, 9 + length):
        images[i] = np.full_like(images[i], 250)
    assert marks(images) == [0]


@pytest.mark.parametrize("speed", [4, 12, 25])
def test_a_pan_is_no_cut(speed: int) -> None:
    wide = textured(900, 200, 1, 12.0)
    assert marks([wide[:, i * speed : i * speed + 240] for i in range(25)]) == [0]


def test_a_slow_fade_of_light_is_no_cut() -> None:
    base = scene(1, 1)[0].astype(float)
    assert marks([np.clip(base * (1 - i / 40), 0, 255).astype(np.uint8) for i in range(30)]) == [0]


def test_frames_pass_in_order_and_few_are_held() -> None:
    pulled = 0

    def counted() -> object:
        nonlocal pulled
        for frame in video(scene(0, 20)):
            pulled += 1
            yield frame

    detector = ShotDetector(ShotConfig(reach_frames=3))
    for index, (frame, _) in enumerate(detector.mark(counted())):
        assert frame.index == index and pulled - index - 1 <= detector.lookahead
    assert index == 19


def test_empty_and_bad_settings() -> None:
    assert list(ShotDetector().mark([])) == []
    with pytest.raises(ConfigError, match="reach"):
        ShotConfig(reach_frames=0)
