"""The Fréchet distance against its closed form, and with a stand-in network."""

import numpy as np
import pytest

from latentsync.metrics.frechet import FeatureNetwork, frechet, frechet_distance, fvd_clip


def test_distance_of_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4000, 3)), rng.normal(0, 1, (4000, 3)) * 2 + np.array([1.0, 0, 0])
    assert frechet_distance(a, b) == pytest.approx(1 + 3 * (2 - 1) ** 2, rel=0.05)  # |Δμ|² + Σ(σ₁ − σ₂)²
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


@pytest.mark.parametrize("count", [6, 40])
def test_fewer_samples_than_features_and_more_follow_the_matrix_formula(count: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(count, 10)), rng.normal(size=(count + 3, 10)) @ rng.normal(size=(10, 10))
    s1, s2 = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(s1 @ s2).real, 0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)


def test_the_network_is_named_with_the_figure() -> None:
    rng = np.random.default_rng(2)
    network = FeatureNetwork("stand-in", lambda x: x.mean(axis=(2, 3, 4)))
    a = [rng.uniform(0, 1, (4, 3, 16, 8, 8)) for _ in range(3)]
    found = frechet(network, a, [x * 0.5 for x in a])
    assert found.network == "stand-in" and (found.num_a, found.num_b) == (12, 12)
    assert found.distance > 0.1 > frechet(network, a, a).distance
    with pytest.raises(ValueError, match="expected"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


def test_fvd_clip_takes_sixteen_frames_from_the_twentieth() -> None:
    crops = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    assert (fvd_clip(crops)[0, 0, :, 0, 0] * 255).round().tolist() == list(range(20, 36))
    assert (fvd_clip(crops[:18])[0, 0, :, 0, 0] * 255).round().tolist() == list(range(2, 18))
    with pytest.raises(ValueError, match="16"):
        fvd_clip(crops[:10])
