"""A still picture in the pose of another frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from latentsync.generation.tiny.pose_warp import (
    MIDDLE,
    POINT_DEPTHS,
    POINTS,
    crop_terms,
    head_move,
    key_frames,
    places_in_frame,
    pose_warp,
    smoothed,
    source_places,
    terms,
    terms_at,
)

SIDE = 128


def face(rng: np.random.Generator) -> np.ndarray:
    """(468, 2) points, those that are looked at spread over the upper two thirds of a crop."""
    points = rng.uniform(0.1, 0.9, (468, 2)) * SIDE
    points[list(POINTS)] = rng.uniform((0.2, 0.1), (0.8, 0.6), (len(POINTS), 2)) * SIDE
    return points.astype(np.float32)


def turned(points: np.ndarray, turn: float) -> np.ndarray:
    """Points of a head that turned: sideways as their depth tells, and a little narrower."""
    out = points.copy()
    depth = np.zeros(468, np.float32)
    depth[list(POINTS)] = np.array(POINT_DEPTHS, np.float32) / 100
    out[:, 0] += turn * SIDE * depth - 0.1 * abs(turn) * (points[:, 0] - SIDE / 2)
    return out


def test_a_face_that_did_not_move_stays_as_it_is() -> None:
    points = face(np.random.default_rng(0))
    picture = np.random.default_rng(1).random((SIDE, SIDE, 3), dtype=np.float32)
    again = pose_warp(picture, head_move(points, points, SIDE), crop_terms(SIDE))
    np.testing.assert_allclose(again, picture, atol=1e-2)


@pytest.mark.parametrize("turn", [-0.15, 0.05, 0.2])
def test_a_turn_is_found_from_the_still_points(turn: float) -> None:
    points = face(np.random.default_rng(2))
    still = turned(points, turn)
    move = head_move(points, still, SIDE)
    given = terms((points[list(POINTS)] + 0.5) / SIDE, np.array(POINT_DEPTHS, np.float32) / 100) @ move
    away = np.hypot(*(given * SIDE - 0.5 - still[list(POINTS)]).T)
    before = np.hypot(*(points - still)[list(POINTS)].T)
    assert away.max() < 0.35 and away.mean() < 0.05 * before.mean() + 0.05


def test_a_shift_moves_the_whole_picture_and_mouths_play_no_part() -> None:
    points = face(np.random.default_rng(3))
    frame = points - np.float32([5, -3])
    moving = [k for k in range(468) if k not in POINTS]
    frame[moving] += np.float32([0, 20])
    picture = cv2.GaussianBlur(np.random.default_rng(4).random((SIDE, SIDE, 3), dtype=np.float32), (0, 0), 3)
    shown = pose_warp(picture, head_move(frame, points, SIDE), crop_terms(SIDE))
    np.testing.assert_allclose(shown[10:-10, 10:-10], picture[7:-13, 15:-5], atol=0.01)


def test_a_part_is_the_same_as_the_part_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    points, picture = face(rng), rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    move = head_move(points, turned(points, 0.1), SIDE)
    whole = pose_warp(picture, move, crop_terms(SIDE))
    part = pose_warp(picture, move, crop_terms(SIDE)[40:100, 30:90])
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(part, whole[40:100, 30:90])


def test_near_things_have_smaller_depth_than_far_ones() -> None:
    nose, mouth, lip_predictor = (
        terms_at(np.full((1, 1, 2), place, np.float32))[0, 0, 2] for place in (0.45, 0.62, 0.97)
    )
    assert nose < mouth < lip_predictor


def test_trembling_is_smoothed_and_a_steady_turn_is_not() -> None:
    steady = np.linspace(0, 1, 40, dtype=np.float32)[:, None, None] * np.ones((1, 4, 2), np.float32)
    np.testing.assert_allclose(smoothed(steady, 2.0)[5:-5], steady[5:-5], atol=1e-5)
    np.testing.assert_allclose(smoothed(steady, 2.0, first=30), smoothed(steady, 2.0)[30:], atol=1e-6)
    noise = np.random.default_rng(0).normal(size=(200, 4, 2)).astype(np.float32)
    assert np.diff(smoothed(noise, 2.0), n=2, axis=0).std() < 0.1 * np.diff(noise, n=2, axis=0).std()


def test_pictures_are_made_as_often_as_the_head_moves() -> None:
    moves = np.zeros((10, 4, 2), np.float32)
    assert key_frames(moves, 1e-3, 1e-4) == [0]
    moves[:, 3, 0] = np.arange(10) * 0.4e-3
    assert key_frames(moves, 1e-3, 1e-4) == [0, 2, 4, 6, 8, 9]
    assert key_frames(moves, 1e-4, 1e-5) == list(range(10))
    assert key_frames(moves, 1e-3, 4e-3) == [0]
    moves[6:, 3, 1] = 1.0
    assert key_frames(moves, 1e-3, 1e-4) == [0, 2, 4, 5, 6, 8, 9]


def test_places_of_the_still_picture_are_places_in_frame_to_the_frame() -> None:
    move = np.array([[1.02, 0.05], [-0.04, 0.97], [0.1, -0.03], [0.52, 0.4]], np.float32)
    inside = np.random.default_rng(2).uniform(0.3, 0.7, (3, 20, 2)).astype(np.float32)
    back = places_in_frame(move, inside)
    assert back.shape == inside.shape and back.dtype == np.float32
    np.testing.assert_allclose(source_places(move, terms_at(back)), inside, atol=0.004)  # a pixel of 256
    np.testing.assert_allclose(places_in_frame(np.float32([[1, 0], [0, 1], [0, 0], MIDDLE]), inside), inside, atol=1e-6)
