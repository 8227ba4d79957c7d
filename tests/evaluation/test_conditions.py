"""Conditions of hearing are what they say: level, distance of noise, band, decay."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.evaluation import conditions


@pytest.fixture
def speech() -> np.ndarray:
    """Two seconds of tones that come and go, peak 0.5."""
    time = np.arange(32000) / 16000
    wave = (np.sin(2 * np.pi * 180 * time) + np.sin(2 * np.pi * 1200 * time)) * (np.sin(2 * np.pi * 2 * time) > 0)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def power(wave: np.ndarray) -> float:
    return float((wave.astype(np.float64) ** 2).mean())


def test_a_quieter_peak_and_nothing_else(speech: np.ndarray) -> None:
    found = conditions.quieter(40)(speech)
    assert np.abs(found).max() == pytest.approx(0.01)
    np.testing.assert_allclose(found / np.abs(found).max(), speech / np.abs(speech).max(), atol=1e-6)


@pytest.mark.parametrize("make", [conditions.with_noise, conditions.with_music])
def test_what_is_mixed_in_lies_below_the_speech(speech: np.ndarray, make: object) -> None:
    for snr_db in (10, 0):
        quiet = speech * np.float32(0.2)  # so that the sum needs no limiting
        added = make(snr_db)(quiet).astype(np.float64) - quiet  # type: ignore[operator]
        loud = power(quiet[quiet != 0])
        assert 10 * np.log10(loud / power(added)) == pytest.approx(snr_db, abs=1.5)


def test_a_telephone_has_no_low_and_no_high_pitch(speech: np.ndarray) -> None:
    spectrum = np.abs(np.fft.rfft(conditions.telephone(speech)))
    pitch = np.fft.rfftfreq(len(speech), 1 / 16000)
    whole = np.abs(np.fft.rfft(speech))
    assert spectrum[(pitch < 200) | (pitch > 3600)].max() < 1e-2
    kept = (np.abs(pitch - 1200) < 50) & (whole > 10)
    assert kept.any()
    np.testing.assert_allclose(spectrum[kept], whole[kept], rtol=1e-3)


def test_a_hall_goes_on_after_the_sound(speech: np.ndarray) -> None:
    silent = np.flatnonzero(speech[8000:12000] == 0) + 8000
    assert power(conditions.reverberant(0.6)(speech)[silent]) > 1e-5 > power(speech[silent])


def test_a_click_is_the_loudest_and_the_speech_is_as_said(speech: np.ndarray) -> None:
    found = conditions.with_click(40)(speech)
    assert np.abs(found).max() == 1 and np.abs(found[1000:]).max() == pytest.approx(0.01, rel=0.1)


def test_no_condition_changes_the_length_or_leaves_the_range(speech: np.ndarray) -> None:
    for name, made in conditions.CONDITIONS.items():
        found = made(speech)
        assert found.shape == speech.shape and found.dtype == np.float32, name
        assert np.abs(found).max() <= 1 and np.isfinite(found).all(), name
        assert (name == "as it is") == np.array_equal(found, speech), name
