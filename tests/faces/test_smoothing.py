"""Smoothing: less jitter, no lag, no end effects, motion kept."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.core.errors import ConfigError
from latentsync.faces.smoothing import SmoothingConfig, smooth_at

CONFIG = SmoothingConfig()
SCALE = 100.0


def smooth(times: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.stack([smooth_at(times, points, i, SCALE, CONFIG) for i in range(len(times))])


def track(path: np.ndarray) -> np.ndarray:
    """(n, 3, 2) triangle that moves along (n, 2)."""
    return path[:, None] + np.array([(-50, 0), (50, 0), (0, 40)])


def test_jitter_of_a_still_head_shrinks() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(100) / 25
    noise = rng.normal(0, 0.3, size=(100, 3, 2))
    still = track(np.zeros((100, 2)))
    out = smooth(times, still + noise)
    assert (out - still)[10:-10].std() < 0.5 * noise.std()
    steps = (
        np.linalg.norm(np.diff(out, 2, axis=0), axis=2).mean()
        / np.linalg.norm(np.diff(noise, 2, axis=0), axis=2).mean()
    )
    assert steps < 0.15


@pytest.mark.parametrize("fps", [24, 25, 60])
def test_steady_motion_is_not_changed(fps: int) -> None:
    times = np.arange(60) / fps
    path = track(np.stack([300 * times, 80 * times**2], axis=1))
    out = smooth(times, path)
    np.testing.assert_allclose(out[3:-3], path[3:-3], atol=0.05)


def test_a_quick_nod_keeps_its_size_and_its_time() -> None:
    times = np.arange(75) / 25
    nod = 20 * np.exp(-0.5 * ((times - 1.5) / 0.12) ** 2)
    path = track(np.stack([np.zeros(75), nod], axis=1))
    out = smooth(times, path)[:, 0, 1]
    assert int(np.argmax(out)) == int(np.argmax(nod))
    assert out.max() > 0.93 * 20
    assert out[37] == pytest.approx(np.interp(1.5, times, nod), abs=1.4)


def test_running_time_backwards_gives_the_same() -> None:
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 2, size=50))
    path = track(np.cumsum(rng.normal(0, 1.5, size=(50, 2)), axis=0))
    np.testing.assert_allclose(smooth(times, path), smooth(-times[::-1], path[::-1])[::-1], atol=1e-6)


def test_one_and_two_samples() -> None:
    path = track(np.array([(0.0, 0.0), (4.0, 2.0)]))
    np.testing.assert_array_equal(smooth(np.array([0.0]), path[:1]), path[:1])
    assert np.isfinite(smooth(np.array([0.0, 0.04]), path)).all()


def test_the_triangle_turns_and_grows_as_one() -> None:
    """Smoothing commutes with a similarity of the frame: a rotated video gives the rotated result."""
    rng = np.random.default_rng(2)
    times = np.arange(30) / 25
    path = track(np.cumsum(rng.normal(0, 2, size=(30, 2)), axis=0)) + rng.normal(0, 0.4, size=(30, 3, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_allclose(smooth(times, path @ turn.T), smooth(times, path) @ turn.T, atol=1e-6)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError):
        SmoothingConfig(narrow_s=0.5, wide_s=0.1)
