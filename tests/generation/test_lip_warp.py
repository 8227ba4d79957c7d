"""A still mouth with its lips moved to where they are wanted."""

from __future__ import annotations

import numpy as np

from latentsync.faces import topology as mesh
from latentsync.generation.tiny.lip_warp import NUM_POINTS, RING, STIFFNESS, field, warped_places
from latentsync.generation.tiny.pose_warp import POINTS, crop_terms, head_move, pose_warp
from latentsync.generation.tiny.references import reference_lips

SIDE = 128
PLAIN = np.full((2, SIDE, SIDE, 3), 0.5, np.float32)
"""Pictures in which no lips are to be seen: the mesh is believed."""


def lips(open_by: float = 0.0) -> np.ndarray:
    """(40, 2) an ellipse of lips in crop sides, the lower half further down by so much in its middle."""
    angle = np.linspace(0, 2 * np.pi, NUM_POINTS, endpoint=False)
    points = np.stack([0.5 + 0.12 * np.cos(angle), 0.66 + 0.04 * np.sin(angle)], axis=1)
    points[:, 1] += open_by * np.clip(np.sin(angle), 0, 1)
    return points.astype(np.float32)


def places(side: int = SIDE) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return (np.stack([columns, rows], axis=-1) + np.float32(0.5)) / np.float32(side)


def face(rng: np.random.Generator) -> np.ndarray:
    """(468, 2) pixels: eyes level and half a crop apart, lips as `lips`."""
    points = rng.uniform(0.1, 0.9, (468, 2)) * SIDE
    points[list(POINTS)] = rng.uniform((0.2, 0.1), (0.8, 0.6), (len(POINTS), 2)) * SIDE
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (0.25 * SIDE, 0.4 * SIDE), (0.75 * SIDE, 0.4 * SIDE)
    points[list(mesh.LIPS)] = lips() * SIDE - 0.5
    return points.astype(np.float32)


def test_lips_that_stay_leave_the_picture_as_it_is() -> None:
    np.testing.assert_allclose(warped_places(places(), lips(), lips()), places(), atol=1e-6)


def test_lips_are_found_where_the_still_has_them_and_the_face_around_stays() -> None:
    own, wanted = lips(), lips(0.06)
    found = wanted + field(own, wanted, wanted[None])[0]
    away = np.hypot(*(found - own).T)
    moved = np.hypot(*(wanted - own).T)
    assert away.max() < 2 * STIFFNESS and moved.max() > 0.05
    still = np.concatenate([RING, [[0.02, 0.02], [0.98, 0.02], [0.5, 0.3]]]).astype(np.float32)
    assert np.abs(field(own, wanted, still[None])).max() < 0.1 * moved.max()


def test_points_that_lie_on_each_other_are_drawn_apart_and_back() -> None:
    """Of a closed mouth the seam fills the gap; the gap of an open one comes together."""
    closed = lips()
    closed[:, 1] = 0.66
    for own, wanted in ((closed, lips(0.05)), (lips(0.05), closed)):
        move = field(own, wanted, places(32))
        assert np.isfinite(move).all() and np.abs(move).max() < 0.1
    inside = np.array([[[0.5, 0.67]]], np.float32)
    np.testing.assert_allclose(inside + field(closed, lips(0.05), inside), [[[0.5, 0.66]]], atol=4e-3)


def test_the_coarse_field_is_that_of_every_pixel_nearly() -> None:
    own, wanted = lips(), lips(0.06)
    fine = places(256) + field(own, wanted, places(256))
    assert np.abs(warped_places(places(256), own, wanted) - fine).max() < 1.0 / 256


def test_a_change_is_along_and_down_the_face_in_eye_distances_from_the_first_mouth() -> None:
    points = face(np.random.default_rng(0))
    second = points + np.float32([5, -3])
    second[list(mesh.LIPS)] += np.float32([0, 9])  # another mouth, which is not begun from
    mouths = reference_lips(np.stack([points, second]), PLAIN)
    change = np.zeros((2, 2 * NUM_POINTS), np.float32)
    change[1, :NUM_POINTS], change[1, NUM_POINTS:] = 0.1, 0.02
    wanted = mouths.targets(change)
    shift = np.float32([5, -3]) / SIDE
    np.testing.assert_allclose(wanted[0], [lips(), lips() + shift], atol=2e-3)
    np.testing.assert_allclose(wanted[1] - wanted[0], np.broadcast_to([0.05, 0.01], (2, NUM_POINTS, 2)), atol=1e-5)
    np.testing.assert_allclose(mouths.own[1], lips() + shift + np.float32([0, 9 / SIDE]), atol=1e-5)


def test_a_rolled_face_has_rolled_axes() -> None:
    points = face(np.random.default_rng(1))
    points[mesh.RIGHT_EYE_OUTER] = points[mesh.LEFT_EYE_OUTER] + np.float32([0, 0.5 * SIDE])
    (along, down), *_ = reference_lips(points[None], PLAIN[:1]).axes
    np.testing.assert_allclose([along, down], [[0, 0.5], [-0.5, 0]], atol=1e-6)


def test_a_reposed_still_has_its_lips_where_they_are_wanted() -> None:
    """A dark spot on the middle of the lower lip goes down with it."""
    points = face(np.random.default_rng(2))
    mouths = reference_lips(points[None], PLAIN[:1])
    lowest = int(np.argmax(mouths.own[0][:, 1]))
    picture = np.ones((SIDE, SIDE, 3), np.float32)
    x, y = np.rint(points[mesh.LIPS[lowest]]).astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 0
    change = np.zeros((1, 2 * NUM_POINTS), np.float32)
    change[0, NUM_POINTS:] = 12 / (0.5 * SIDE) * np.clip((lips()[:, 1] - 0.66) / 0.04, 0, 1)
    (warp_field,) = mouths.warp_fields(0, mouths.targets(change)[:, 0])
    made = pose_warp(picture, head_move(points, points, SIDE), crop_terms(SIDE), warp_field)
    found = np.argwhere(made[..., 0] < 0.5).mean(axis=0)
    np.testing.assert_allclose(found, [y + 12, x], atol=1.5)


def ring_lips(gap: float) -> np.ndarray:
    """(40, 2) two rings as the mesh has them, from corner to corner over the top and back; the inner one open."""
    angle = np.pi - np.linspace(0, 2 * np.pi, 20, endpoint=False)
    around = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    outer, inner = around * (0.14, 0.05 + gap / 2), around * (0.11, gap / 2)
    return (np.concatenate([outer, inner]) + np.array([0.5, 0.66 + gap / 2])).astype(np.float32)


def test_upper_teeth_keep_their_size_where_lips_close_and_open() -> None:
    wide, half = ring_lips(0.12), ring_lips(0.06)
    for own, wanted, least in ((wide, half, 0.9), (half, wide, 0.9)):
        upper, still_upper = wanted[25], own[25]
        below = np.linspace(0.005, 0.03, 6)  # of the half open mouth's gap of 0.06
        places_ = np.stack([np.full(6, 0.5), upper[1] + below], axis=1).astype(np.float32)
        found = places_ + field(own, wanted, places_[None])[0]
        depth = found[:, 1] - still_upper[1]
        np.testing.assert_allclose(np.polyfit(below, depth, 1)[0], 1, atol=1 - least)
        squashed = field(own, wanted, np.array([[[0.5, wanted[35, 1] - 0.004]]], np.float32))
        assert abs(wanted[35, 1] - 0.004 + squashed[0, 0, 1] - own[35, 1]) < 0.02
