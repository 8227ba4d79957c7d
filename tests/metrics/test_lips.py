"""Lip curves: invariance, lag convention, closures and silence."""

from collections.abc import Callable

import numpy as np
import pytest

from latentsync.faces import topology as mesh
from latentsync.metrics import lips


def talking_mesh(opening: np.ndarray, eye_distance: float = 80.0) -> np.ndarray:
    """(F, 468, 2) mesh of which only the eye corners and inner lips matter; `opening` is in eye distances."""
    rng = np.random.default_rng(5)
    points = np.repeat(rng.uniform(0, 200, (1, 468, 2)), len(opening), axis=0)
    points[:, mesh.LEFT_EYE_OUTER] = (60, 100)
    points[:, mesh.RIGHT_EYE_OUTER] = (60 + eye_distance, 100)
    for column, (upper, lower) in enumerate(mesh.INNER_LIP_PAIRS):
        points[:, upper] = (90 + 5 * column, 170)
        points[:, lower, 0] = 90 + 5 * column
        points[:, lower, 1] = 170 + opening * eye_distance
    return points


def babble(length: int = 120, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return lips.smooth(rng.uniform(0, 0.6, length), 1.5)


@pytest.mark.parametrize("turn_deg", [0, 25, -70])
def test_opening_is_measured_in_eye_distances_whatever_roll_scale_and_place(turn_deg: float) -> None:
    opening = babble(30)
    turn = np.deg2rad(turn_deg)
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = talking_mesh(opening) @ rotation.T + (31, -12)
    np.testing.assert_allclose(lips.lip_opening(points), opening, atol=1e-12)


@pytest.mark.parametrize("turn_deg", [0, 25, -70])
def test_width_is_measured_along_the_eye_line_whatever_roll_scale_and_place(turn_deg: float) -> None:
    width = 0.4 + babble(30, 1) / 2
    points = talking_mesh(babble(30))
    left, right = mesh.INNER_LIP_CORNERS
    points[:, left] = (70, 170)
    points[:, right, 0] = 70 + width * 80
    points[:, right, 1] = 155  # a crooked mouth is no wider
    turn = np.deg2rad(turn_deg)
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(lips.lip_width(points @ rotation.T + (31, -12)), width, atol=1e-12)


def test_width_takes_the_inner_corners_of_the_public_mesh() -> None:
    points = np.zeros((1, 468, 2))
    points[0, [33, 263]] = [(100, 100), (200, 100)]
    points[0, [78, 308]] = [(125, 180), (180, 180)]
    assert lips.lip_width(points).tolist() == [pytest.approx(0.55)]


@pytest.mark.parametrize("measured", [lips.lip_opening, lips.lip_width])
def test_lips_are_nan_where_no_face_was_seen_and_other_shapes_are_refused(
    measured: Callable[[np.ndarray], np.ndarray],
) -> None:
    points = talking_mesh(babble(10))
    points[4] = np.nan
    points[6, [mesh.LEFT_EYE_OUTER, mesh.RIGHT_EYE_OUTER]] = (80, 100)  # no distance to measure by
    assert np.isnan(measured(points)).tolist() == [i in (4, 6) for i in range(10)]
    assert measured(points).dtype == np.float64
    with pytest.raises(ValueError, match="expected"):
        measured(points[:, :68])
    with pytest.raises(ValueError, match="expected"):
        measured(points[0])


@pytest.mark.parametrize("late", [-7, 0, 3])
def test_a_search_with_sound_around_is_as_long_at_every_lag(late: int) -> None:
    """`a` is sampled four times as often and begins 20 steps before b; what is not known does not count."""
    fine = np.random.default_rng(4).normal(size=400)
    b = fine[20 : 20 + 4 * 60 : 4].copy()
    a = np.roll(fine, late)
    a[:8] = np.nan
    b[10:20] = np.nan
    found = lips.lagged_correlation(a, b, max_lag=10, lead=20, stride=4, least=40)
    assert (found.best_lag, round(found.best_r, 6)) == (late, 1.0)
    assert np.isfinite(found.curve).all()
    assert np.isnan(lips.lagged_correlation(a, b, 10, lead=20, stride=4, least=55).best_r)


@pytest.mark.parametrize("late", [-2, 0, 1])
def test_lag_is_positive_when_the_first_curve_is_late(late: int) -> None:
    b = babble()
    a = np.roll(b, late) * 0.3 + 0.1
    found = lips.lagged_correlation(a, b, max_lag=3)
    assert found.best_lag == late
    assert found.best_r > 0.98
    assert len(found.curve) == 7 and found.curve[3 + late] == found.best_r


def test_correlation_leaves_out_unseen_frames_and_needs_enough_of_them() -> None:
    b = babble()
    a = b.copy()
    a[10:20] = np.nan
    assert lips.correlation(a, b) == pytest.approx(1.0)
    a[7:] = np.nan
    assert np.isnan(lips.lagged_correlation(a, b, 2).best_r)
    assert lips.correlation(np.zeros(50), babble(50)) == 0.0


def test_smoothing_keeps_a_constant_and_has_no_delay() -> None:
    np.testing.assert_allclose(lips.smooth(np.full(20, 0.4), 2.0), 0.4)
    pulse = np.zeros(41)
    pulse[20] = 1
    out = lips.smooth(pulse, 2.0)
    assert out.argmax() == 20
    np.testing.assert_allclose(out, out[::-1], atol=1e-12)


def test_detrending_takes_drift_but_leaves_syllables() -> None:
    syllables = np.sin(np.arange(200) * 0.9)
    drift = 0.05 * np.arange(200)
    assert lips.correlation(lips.detrend(syllables + drift), syllables) > 0.98
    assert lips.correlation(lips.detrend(syllables + drift, 25), syllables) > 0.95
    assert lips.correlation(syllables + drift, syllables) < 0.4
    with pytest.raises(ValueError, match="odd"):
        lips.detrend(syllables, 4)


def test_closures_are_found_where_the_sounds_are() -> None:
    opening = np.full(100, 0.3)
    spans = [(0.4, 0.48), (1.6, 1.68), (2.8, 2.88)]
    for start, _ in spans[:2]:
        opening[round(start * 25)] = 0.01
    found = lips.closure_rate(opening, spans, fps=25, limit=0.05)
    assert found.num_sounds == 3 and found.rate == pytest.approx(2 / 3)
    assert found.chance < 0.2
    assert np.isnan(lips.closure_rate(opening, [], 25, 0.05).rate)


def test_a_mouth_that_hardly_opens_is_not_called_open_by_the_meshs_trembling() -> None:
    opening = 0.05 + np.linspace(0, 0.02, 101)
    assert lips.closed_limit(opening) == pytest.approx(0.05 + 0.001 + lips.JITTER)


def test_closed_limit_lies_in_the_lower_part_of_the_clip() -> None:
    opening = np.r_[np.full(50, 0.05), np.full(50, 0.45)]
    assert lips.closed_limit(opening) == pytest.approx(0.13)


def test_stillness_needs_a_mouth_both_closed_and_quiet() -> None:
    silent = np.zeros(100, bool)
    silent[40:80] = True
    opening = np.full(100, 0.3)
    opening[43:80] = 0.01  # closes three frames into the silence
    assert lips.stillness(opening, silent, limit=0.05, settle_frames=4) == 1.0
    twitching = opening + 0.04 * (np.arange(100) % 2)
    assert lips.stillness(twitching, silent, limit=0.06, settle_frames=4) == 0.0
    assert lips.stillness(np.full(100, 0.3), silent, limit=0.05) == 0.0
    assert np.isnan(lips.stillness(opening, np.zeros(100, bool), 0.05))


def shut_at(moments: list[int], frames: int = 100) -> np.ndarray:
    curve = np.full(frames, 0.3)
    curve[moments] = 0.0
    return curve


def test_closures_count_both_what_is_missed_and_what_is_too_much() -> None:
    spans = [(0.4, 0.44), (1.2, 1.28), (2.4, 2.44), (3.2, 3.24)]
    silent = np.zeros(100, bool)
    silent[90:] = True
    found = lips.closures(shut_at([10, 31, 50, 95]), spans, 25, 0.05, silent, slack_s=0.0)
    assert (found.num_wanted, found.num_found) == (4, 3)  # the one in silence is none
    assert found.recall == 0.5 and found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 * 0.5 * 2 / 3 / (0.5 + 2 / 3))
    assert found.null_recall < 0.3 and found.null_precision < 0.3


def test_a_mouth_that_is_always_shut_has_every_recall_and_so_has_its_null_model() -> None:
    found = lips.closures(np.zeros(100), [(0.4, 0.44), (1.2, 1.28)], 25, 0.05)
    assert found.recall == found.null_recall == 1.0
    assert np.isnan(lips.closures(np.zeros(100), [], 25, 0.05).recall)


def test_a_mouths_own_closures_are_spans_to_be_met() -> None:
    curve = shut_at([10, 11, 12, 40])
    spans = lips.spans_shut(curve, 25, 0.05)
    assert spans == [(0.4, 0.48), (1.6, 1.6)]
    assert lips.closures(curve, spans, 25, 0.05).f1 == 1.0
    silent = np.arange(100) > 30
    assert lips.spans_shut(curve, 25, 0.05, silent) == [(0.4, 0.48)]
