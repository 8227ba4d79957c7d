"""The inner-mouth score: real mouths lie at the floor, tinted and blurred ones do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from latentsync.faces import topology as mesh
from latentsync.metrics import mouth

SIDE = 128
EYES_PX = 60.0


def face(opening: float) -> np.ndarray:
    """(468, 2) a mesh whose mouth is open by `opening` eye distances."""
    points = np.random.default_rng(0).uniform(30, 98, (468, 2))
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (64 - EYES_PX / 2, 40), (64 + EYES_PX / 2, 40)
    ring = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    inner = np.stack([64 - 15 * np.cos(ring), 86 - opening * EYES_PX / 2 * np.sin(ring)], axis=1)
    points[list(mesh.INNER_LIPS)] = inner
    return points


def clip(seed: int, frames: int = 48, tint: tuple[float, float, float] = (1, 1, 1), blur: float = 0.0) -> mouth.Mouths:
    """A person's mouths: teeth above, dark below, grain; each frame a little different."""
    rng = np.random.default_rng(seed)
    openings = rng.uniform(0.06, 0.25, frames)
    crops, meshes = [], []
    for opening in openings:
        picture = np.full((SIDE, SIDE, 3), (180, 140, 120), np.float32)
        points = face(float(opening))
        ring = np.rint(points[list(mesh.INNER_LIPS)]).astype(np.int32)
        inside = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(inside, [ring], 1)
        teeth = np.where(np.arange(SIDE)[:, None] < 86, 200.0, 60.0) + 20 * (np.arange(SIDE)[None] % 8 < 2)
        drawn = np.repeat((teeth + rng.normal(0, 6, (SIDE, SIDE)))[..., None], 3, axis=2) * np.array(tint)
        if blur:
            drawn = cv2.GaussianBlur(drawn, (0, 0), blur)
        picture[inside > 0] = drawn[inside > 0]
        crops.append(np.clip(picture, 0, 255).astype(np.uint8))
        meshes.append(points)
    return mouth.open_mouths(np.stack(crops), np.stack(meshes))


def both(found: mouth.Mouths, features: mouth.Features) -> tuple[np.ndarray, np.ndarray]:
    return features(found.pictures, found.inside), found.shapes


@pytest.fixture(scope="module")
def features() -> mouth.Features:
    return mouth.vgg_features()


def test_closed_mouths_and_frames_without_a_face_are_left_out() -> None:
    crops = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    meshes = np.stack([face(0.2), face(0.01), np.full((468, 2), np.nan)])
    found = mouth.open_mouths(crops, meshes)
    assert len(found) == 1
    assert found.shapes[0, 0] > 0.1
    height, width = (np.ptp(axis) for axis in np.nonzero(found.inside[0]))
    assert width > height > 5  # the ring, at 64 px for 0.7 eye distances
    assert abs(np.mean(np.nonzero(found.inside[0])[1]) - 32) < 1


def test_real_mouths_lie_at_the_floor_and_wrong_ones_do_not(features: mouth.Features) -> None:
    real = both(clip(0), features)
    over = {}
    for name, made in {
        "same": clip(1),
        "green": clip(1, tint=(0.8, 1.1, 0.9)),
        "blurred": clip(1, blur=3.0),
    }.items():
        found = mouth.mouth_distance(both(made, features), real)
        assert found is not None and found.num == 24
        over[name] = found.frechet / found.frechet_floor, found.nearest / found.nearest_floor
    assert over["same"][0] < 1.7 and over["same"][1] < 1.3
    for name in ("green", "blurred"):
        assert over[name][0] > 3 * over["same"][0] and over[name][1] > over["same"][1] + 0.1


def test_too_few_mouths_say_nothing(features: mouth.Features) -> None:
    real = both(clip(0), features)
    assert mouth.mouth_distance(both(clip(1, 7), features), real) is None
    assert mouth.mouth_distance(both(clip(1), features), both(clip(0, 12), features)) is None
    assert features(np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 64, 64), np.uint8)).shape == (0, 192)
