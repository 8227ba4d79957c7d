"""Words said faster and slower are laid over each other; the curve beside them follows."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.metrics.warping import time_warp


def test_a_stretched_sentence_finds_its_own_moments() -> None:
    rng = np.random.default_rng(0)
    a = np.repeat(rng.normal(size=(20, 13)), 5, axis=0) + rng.normal(0, 0.1, (100, 13))
    at = np.interp(np.linspace(0, 1, 140), [0, 0.4, 1], [0, 0.6, 1]) * 99  # the first part slower, the rest faster
    b = a[at.round().astype(int)]
    found = time_warp(a, b)
    assert (np.diff(found) >= 0).all()
    assert np.abs(at[found.round().astype(int)] - np.arange(100)).mean() < 1.5
    assert np.abs(at[np.linspace(0, 139, 100).round().astype(int)] - np.arange(100)).mean() > 5


def test_the_same_recording_is_left_as_it_is() -> None:
    a = np.random.default_rng(1).normal(size=(50, 4))
    np.testing.assert_array_equal(time_warp(a, a), np.arange(50))
    with pytest.raises(ValueError, match="nothing"):
        time_warp(a, a[:0])
