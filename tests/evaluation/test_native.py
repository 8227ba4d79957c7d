"""Sharpness at the video's own resolution: what is drawn at half of it is seen to be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from talkers import INFO, SIDE, MouthTracker, babble, portrait

from latentsync.core.values import Frame
from latentsync.evaluation.native import BANDS, native_scores
from latentsync.evaluation.watching import watch
from latentsync.media.pixels import RgbPicture
from latentsync.media.writer import VideoWriter


def film(path: Path, sharp_from: int | None = 0, fps: int = 25) -> Path:
    """A talker with grain; before frame `sharp_from` (None = all along) it is drawn at half its size."""
    rng = np.random.default_rng(0)
    with VideoWriter(path, like=INFO, crf=1.0) as writer:
        for index, opening in enumerate(babble(0, 30)):
            picture = portrait(float(opening), 0).astype(np.float32) + rng.normal(0, 12, (SIDE, SIDE, 1))
            if sharp_from is None or index < sharp_from:
                half = cv2.resize(picture, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
                picture = cv2.resize(half, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            frame = RgbPicture(np.clip(picture, 0, 255).astype(np.uint8))
            writer.write(Frame(index, Fraction(index, fps), frame))
    return path


def test_the_finest_octaves_fall_and_the_coarse_ones_stay(tmp_path: Path) -> None:
    clip, soft = film(tmp_path / "clip.mp4"), film(tmp_path / "soft.mp4", None)
    mask = np.ones((64, 64), np.float32)
    driven = watch(clip, MouthTracker(), 64)
    same = native_scores(clip, clip, driven, driven, mask)
    assert all(abs(same[band] - 1) < 0.01 for band in BANDS)
    result = watch(soft, MouthTracker(), 64, driven)
    found = native_scores(soft, clip, result, driven.at(result.times_s), mask)
    assert found[BANDS[0]] < 0.3 < 0.8 < found[BANDS[3]] < 1.2
    assert found["face_width_px"] == np.median(np.ptp(driven.landmarks[:, :, 0], axis=1))
