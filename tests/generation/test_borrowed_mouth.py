"""A closed mouth opened with a lent inside, and when that is done."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from latentsync.core.errors import WeightsError
from latentsync.faces import topology as mesh
from latentsync.generation.tiny.borrowed_mouth import (
    Interiors,
    detail_of,
    hardly_opens,
    interiors,
    light_of,
    opened,
    teeth_of,
)
from latentsync.generation.tiny.references import ReferenceFrames, reference_lips, with_open_mouth

SIDE = 256
SKIN = np.array([0.8, 0.55, 0.42], np.float32)


def closed_face(open_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A plain face with red closed lips and its mesh: eyes 100 px apart; lips open by so many pixels in the mesh."""
    picture = np.broadcast_to(SKIN, (SIDE, SIDE, 3)).copy()
    cv2.ellipse(picture, (128, 168), (30, 9), 0, 0, 360, (0.7, 0.3, 0.3), -1)
    picture[168, 100:157] = 0.1
    points = np.random.default_rng(0).uniform(60, 200, (468, 2)).astype(np.float32)
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (78, 90), (178, 90)
    angle = np.pi * np.arange(20) / 10
    for ring, down, across in ((mesh.OUTER_LIPS, 9.0, 30.0), (mesh.INNER_LIPS, open_px / 2, 28.0)):
        ellipse = [128 - across * np.cos(angle), 168 - down * np.sin(angle)]
        points[list(ring)] = np.stack(ellipse, axis=1)
    return picture, points


def between(lips: np.ndarray) -> np.ndarray:
    """(R, R) bool: well inside the inner lips (40, 2), crop sides."""
    inside = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(inside, [np.rint(lips[20:] * SIDE - 0.5).astype(np.int32)], 1)
    return cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_a_closed_mouth_is_opened_with_dark_and_teeth_between_its_own_lips(kind: type) -> None:
    picture, points = closed_face()
    given = picture if kind is np.float32 else np.rint(picture * 255).astype(np.uint8)
    mouths = reference_lips(points[None], given[None])
    bank = interiors()
    for which in range(len(bank.pictures)):
        made, both = opened(given, mouths, bank, which)
        assert made.dtype == given.dtype and made.shape == given.shape
        np.testing.assert_array_equal(both.own[0], mouths.own[0])
        gap = (both.own[1, 37:34:-1, 1] - both.own[1, 23:26, 1]).mean() * SIDE
        assert 5 < gap < 40, "pixels, in the middle of the mouth"
        inside = made[between(both.own[1])].astype(np.float32) / (255 if kind is np.uint8 else 1)
        levels = inside.mean(axis=1)
        assert np.quantile(levels, 0.05) < 0.25 and np.quantile(levels, 0.95) > 0.4
        outer = np.ones((SIDE, SIDE), bool)
        outer[100:236, 40:216] = False
        change = np.abs(made[outer].astype(np.float32) - given[outer])
        assert change.max() <= (0.02 if kind is np.float32 else 4), "the rest of the face stays"


def test_teeth_are_as_red_as_the_skin_asks_for() -> None:
    """Warm light makes warm teeth, which are neutral beside the skin; dark skin does not make dark teeth."""
    skins = (0.9, 0.55, 0.3), (0.6, 0.5, 0.5), (0.3, 0.2, 0.15)
    warm, cold, dark = (np.broadcast_to(np.float32(skin), (64, 64, 3)) for skin in skins)
    red = [teeth_of(picture)[0] / teeth_of(picture)[1] for picture in (warm, cold)]
    assert red[0] > red[1] + 0.2
    assert red[0] < 0.9 / 0.55
    assert teeth_of(dark).mean() > dark.mean() + 0.1
    picture, points = closed_face()
    mouths, bank = reference_lips(points[None], picture[None]), interiors()
    made, both = opened(picture, mouths, bank, 0)
    inside = made[between(both.own[1])]
    bright = inside[inside.mean(axis=1) > np.quantile(inside.mean(axis=1), 0.9)].mean(axis=0)
    np.testing.assert_allclose(bright, teeth_of(picture), atol=0.12)


def test_what_is_lent_to_a_blurred_picture_is_blurred() -> None:
    picture, points = closed_face()
    noise = np.random.default_rng(1).normal(0, 0.02, picture.shape).astype(np.float32)
    sharp = np.clip(picture + noise, 0, 1)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2.5)
    assert detail_of(soft) < 0.5 * detail_of(sharp)
    found = []
    for each in (sharp, soft):
        made, both = opened(each, reference_lips(points[None], each[None]), interiors(), 0)
        grey = made.mean(axis=2)
        found.append(float((grey - cv2.GaussianBlur(grey, (0, 0), 0.8))[between(both.own[1])].std()))
    assert found[1] < 0.8 * found[0]


def test_the_light_is_taken_from_the_side_it_comes_from() -> None:
    left = np.broadcast_to(SKIN, (SIDE, SIDE, 3)) * np.linspace(1, 0.6, SIDE, dtype=np.float32)[None, :, None]
    bank = interiors()
    assert light_of(left) > 0.1 and light_of(left[:, ::-1]) < -0.1
    assert bank.side[bank.nearest(left)] > bank.side[bank.nearest(left[:, ::-1])]


def test_only_a_mouth_that_never_opens_is_opened() -> None:
    picture, points = closed_face()
    _, wide = closed_face(open_px=12)
    own = np.stack([picture, picture])
    shut, talking = np.stack([points, points]), np.stack([points, wide])
    made = with_open_mouth(ReferenceFrames(own, shut, reference_lips(shut, own)))
    assert made.lips is not None
    np.testing.assert_array_equal(made.crops[0], picture)
    assert np.abs(made.crops[1] - picture).max() > 0.2
    gaps = made.lips.own[:, 35, 1] - made.lips.own[:, 25, 1]
    assert gaps[1] > gaps[0] + 0.02
    one = ReferenceFrames(own[:1], shut[:1], reference_lips(shut[:1], own[:1]))
    for kept in (ReferenceFrames(own, talking, reference_lips(talking, own)), ReferenceFrames(own, shut), one):
        assert with_open_mouth(kept) is kept


@pytest.mark.parametrize(
    ("closed", "wide", "lent"),
    [(0.0, 0.02, True), (0.046, 0.046, True), (0.04, 0.055, True), (0.0, 0.04, False), (0.1, 0.1, False)],
)
def test_a_mouth_that_stays_as_it_is_is_told_from_one_that_speaks(closed: float, wide: float, lent: bool) -> None:
    assert hardly_opens(closed, wide) is lent


def test_a_damaged_bank_is_refused() -> None:
    bank = interiors()
    tensors = {name: getattr(bank, name) for name in Interiors.__slots__}
    assert len(Interiors.of(tensors).pictures) >= 8
    with pytest.raises(WeightsError, match="teeth"):
        Interiors.of({**tensors, "teeth": bank.teeth[:, :2]})
    with pytest.raises(WeightsError, match="insides"):
        Interiors.of({"lips": bank.lips})
    assert replace(bank).pictures.nbytes < 300_000
