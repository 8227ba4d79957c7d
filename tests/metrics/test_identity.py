"""The identity stand-in."""

import numpy as np
import pytest
from metric_pictures import clip, face, mask

from latentsync.faces import topology as mesh
from latentsync.metrics.identity import embedding_similarity, identity_proxy


def test_the_same_person_is_alike_whatever_is_said() -> None:
    talking = face()
    talking[:, mesh.LIPS, 1] += 5 * np.sin(np.arange(40))[:, None]
    found = identity_proxy(clip(10), clip(6)[::-1], talking, face() * 1.5 + 20, mask())
    assert found.similarity > 0.9
    assert found.shape_distance < 1 and found.colour_distance < 3


def test_skin_tone_and_jaw_count() -> None:
    real = clip()
    darker = (real * 0.7).astype(np.uint8)
    assert identity_proxy(darker, real, face(), face(), mask()).similarity < 0.4
    wider = face()
    wider[:, mesh.JAW, 0] += np.sign(wider[:, mesh.JAW, 0] - 100) * 12
    found = identity_proxy(real, real, wider, face())
    assert found.shape_distance > 3 and found.appearance_r == pytest.approx(1.0)
    unseen = identity_proxy(real, real, np.full_like(wider, np.nan), face())
    assert np.isnan(unseen.shape_distance)


def test_a_given_recogniser_is_asked() -> None:
    def brightness(x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(1, 2))

    real = clip()
    other = real[..., ::-1]
    assert embedding_similarity(brightness, real, real) == pytest.approx(1.0)
    assert embedding_similarity(brightness, other, real) < 0.99
