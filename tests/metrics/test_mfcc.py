"""The cepstra equal the published front-end's numbers."""

import numpy as np
import pytest

from latentsync.metrics.mfcc import mfcc

# Computed with python_speech_features 0.6 (default settings, 16-bit scale) on the wave below.
COLUMN_40 = [
    20.772435, 5.400774, -15.756859, 40.084397, 6.331623, -36.95822, 8.953839, 2.057059, -50.156618, -18.662823,
    1.311238, -38.259641, -23.806869,
]  # fmt: skip
LAST_COLUMN = [21.581732, -12.980388, 38.055789]


def test_cepstra_match_the_published_numbers() -> None:
    time_s = np.arange(15777) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 220 * time_s) + 0.1 * np.sin(2 * np.pi * 3100 * time_s * time_s)
    cepstra = mfcc(wave)
    assert cepstra.shape == (13, 98)
    np.testing.assert_allclose(cepstra[:, 40], COLUMN_40, atol=2e-6)
    np.testing.assert_allclose(cepstra[:3, -1], LAST_COLUMN, atol=2e-6)


def test_silence_is_finite_and_short_sound_gives_one_column() -> None:
    assert np.isfinite(mfcc(np.zeros(1000))).all()
    assert mfcc(np.ones(100)).shape == (13, 1)
    with pytest.raises(ValueError, match="expected"):
        mfcc(np.zeros(0))
