"""Scores over time."""

import numpy as np
import pytest
from metric_pictures import clip, face, mask

from latentsync.faces import topology as mesh
from latentsync.metrics import motion


def test_mouth_distance_ignores_framing_and_measures_the_mouth() -> None:
    real = face()
    turn = np.deg2rad(10)
    moved = 1.3 * real @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 40
    assert motion.mouth_landmark_distance(moved, real) < 1e-9
    lower = real.copy()
    lower[:, mesh.LIPS, 1] += 3
    assert motion.mouth_landmark_distance(lower, real) == pytest.approx(3.0)
    lower[:20] = np.nan
    assert motion.mouth_landmark_distance(lower, real) == pytest.approx(3.0)
    assert np.isnan(motion.mouth_landmark_distance(np.full_like(real, np.nan), real))


def test_jitter_sees_trembling_not_motion() -> None:
    still = face()
    assert motion.jitter(still) < 1e-9
    trembling = still + np.random.default_rng(1).normal(0, 1, (40, 1, 2))
    assert 1.5 < motion.jitter(trembling) < 4  # second difference of unit noise: √6 · mean of a 2-D Rayleigh
    lips_only = still.copy()
    lips_only[:, mesh.LIPS] += np.random.default_rng(2).normal(0, 3, (40, 1, 2))
    assert motion.jitter(lips_only) < 1e-9 < motion.jitter(lips_only, mesh.LIPS)
    assert np.isnan(motion.jitter(still[:2]))


def test_border_flicker_rises_when_the_patch_flickers() -> None:
    rng = np.random.default_rng(0)
    real = np.clip(clip(12).astype(int) + rng.integers(-2, 3, (12, 96, 96, 1)), 0, 255).astype(np.uint8)
    flicker = (mask()[None, ..., None] * 10 * (-1) ** np.arange(12)[:, None, None, None]).astype(int)
    assert motion.border_flicker(real, real, mask()) == pytest.approx(1.0)
    assert motion.border_flicker(np.clip(real + flicker, 0, 255).astype(np.uint8), real, mask()) > 2


def test_band_lies_on_both_sides_of_the_border() -> None:
    band = motion.border_band(mask(), 2)
    assert band[46:50, 40].all() and not band[45, 40] and not band[50, 40]


def test_seam_stands_out_only_at_chunk_borders() -> None:
    rng = np.random.default_rng(0)
    smooth_clip = (128 + rng.normal(0, 2, (32, 16, 16, 3))).astype(np.uint8)
    jumping = smooth_clip.copy()
    jumping[16:] += 20
    assert motion.seam_score(smooth_clip, [16]) == pytest.approx(1.0, abs=0.1)
    assert motion.seam_score(jumping, [16]) > 4
    assert motion.seam_score(jumping, [8]) < 1
    assert np.isnan(motion.seam_score(jumping, []))
