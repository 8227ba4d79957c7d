"""The cross-drive score tells a follower from a leaker, and both from luck."""

import numpy as np
import pytest

from latentsync.metrics import cross_drive as cd
from latentsync.metrics.lips import smooth


def babble(seed: int, length: int = 400) -> np.ndarray:
    return smooth(np.random.default_rng(seed).uniform(0, 0.6, length), 1.5)


def test_a_mouth_that_follows_the_speech_scores_high_without_leakage() -> None:
    speaker, old = babble(1), babble(2)
    generated = np.roll(speaker, 1) + 0.1 * babble(3)
    score = cd.cross_drive(generated, speaker, old)
    assert score.sync > 0.9 and score.lag_frames == 1
    assert abs(score.leakage) < 0.15
    assert score.num_frames == 400


def test_an_untouched_video_leaks_and_does_not_follow() -> None:
    speaker, old = babble(1), babble(2)
    score = cd.cross_drive(old, speaker, old)
    assert score.leakage > 0.8
    assert score.sync - score.sync_chance < 0.2


def test_a_frozen_mouth_scores_nothing() -> None:
    score = cd.cross_drive(np.full(200, 0.02), babble(1, 200), babble(2, 200))
    assert score.sync == 0.0 and score.leakage == 0.0


def test_chance_is_small_for_unrelated_curves_and_nan_for_short_ones() -> None:
    a, b = babble(1), babble(2)
    assert 0 < cd.chance_correlation(a, b) < 0.2  # the best of five lags: above zero by luck
    assert np.isnan(cd.chance_correlation(a[:20], b[:20]))


def test_pairing_chance_sees_a_rhythm_that_all_clips_share() -> None:
    shared = 0.3 * np.sin(np.arange(400) * 2 * np.pi / 10)
    curves = [shared + babble(seed) for seed in range(4)]
    others = [shared + babble(seed + 10) for seed in range(4)]
    assert cd.pairing_chance(curves, others) > 0.6
    assert cd.pairing_chance([babble(s) for s in range(4)], [babble(s + 10) for s in range(4)]) < 0.2


def test_a_set_takes_leakage_chance_from_its_own_pairings() -> None:
    shared = 0.3 * np.sin(np.arange(400) * 2 * np.pi / 10)
    clips = [(shared + babble(s), shared + babble(s + 10), shared + babble(s + 20)) for s in range(4)]
    scores = cd.cross_drive_set(clips)
    assert all(score.leakage_r > 0.6 and abs(score.leakage) < 0.15 for score in scores)
    single = cd.cross_drive_set(clips[:1])[0]
    assert single == cd.cross_drive(*clips[0])
    assert single.leakage == pytest.approx(single.leakage_r - single.leakage_chance)
