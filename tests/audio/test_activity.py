"""Voice activity on synthesised speech, tones, hum, noise and silence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.audio.activity import SpeechActivity, speech_activity

RATE = 16000


def times(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def syllables(seconds: float, pitch_hz: float = 120.0) -> np.ndarray:
    """Harmonics under two formants that wander, four syllables a second."""
    t = times(seconds)
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * t))) / RATE
    first, second = 500 + 250 * np.sin(2 * np.pi * 2.1 * t), 1600 + 500 * np.sin(2 * np.pi * 1.7 * t)
    wave = np.zeros(len(t))
    for harmonic in range(1, 30):
        hz = harmonic * pitch_hz
        gain = 1 / (1 + ((hz - first) / 150) ** 2) + 0.5 / (1 + ((hz - second) / 200) ** 2) + 0.02
        wave += gain * np.sin(harmonic * phase)
    return (0.1 * wave * (0.15 + np.sin(np.pi * 4 * t) ** 2)).astype(np.float32)


def hiss(seconds: float, level: float) -> np.ndarray:
    return (level * np.random.default_rng(3).standard_normal(int(seconds * RATE))).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


SAID = [(1.0, 3.0), (4.0, 5.5)]


def talk() -> np.ndarray:
    return np.concatenate([quiet(1), syllables(2), quiet(1), syllables(1.5, pitch_hz=210), quiet(1.5)])


def hum(seconds: float) -> np.ndarray:
    t = times(seconds)
    return (0.02 * np.sin(2 * np.pi * 50 * t) + 0.02 * np.sin(2 * np.pi * 150 * t)).astype(np.float32)


@pytest.mark.parametrize("background", ["none", "hiss", "hum"])
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01, 0.003])
def test_speech_is_found_over_backgrounds(background: str, gain: float) -> None:
    wave = talk()
    under = {"none": quiet(7), "hiss": hiss(7, 0.003), "hum": hum(7) + hiss(7, 0.0005)}[background]
    spans = speech_activity([gain * (wave + under)]).spans
    assert len(spans) == 2
    np.testing.assert_allclose(spans, SAID, atol=0.2)
    assert all(start < said for (start, _), (said, _) in zip(spans, SAID, strict=True)), "lips move before the sound"


@pytest.mark.parametrize(
    "wave",
    [
        quiet(5),
        hiss(5, 0.1),
        hum(5),
        hum(5) + hiss(5, 0.01),
        0.3 * np.sin(2 * np.pi * 440 * times(5)).astype(np.float32),
    ],
    ids=["silence", "noise", "hum", "hum and noise", "tone"],
)
def test_steady_sound_is_not_speech(wave: np.ndarray) -> None:
    assert speech_activity([wave]).spans == ()


def test_bursts_of_noise_and_tone_are_not_speech() -> None:
    wave = quiet(6)
    wave[RATE : 2 * RATE] += hiss(1, 0.1)
    wave[4 * RATE : 5 * RATE] += (0.3 * np.sin(2 * np.pi * 1000 * times(1))).astype(np.float32)
    assert speech_activity([wave]).spans == ()


def test_a_floor_that_rises_is_followed() -> None:
    wave = np.concatenate([hiss(20, 0.0005), hiss(20, 0.02)])
    wave[5 * RATE : 7 * RATE] += 0.1 * syllables(2)
    wave[30 * RATE : 32 * RATE] += syllables(2)
    np.testing.assert_allclose(speech_activity([wave]).spans, [(5, 7), (30, 32)], atol=0.25)


def test_blocks_change_nothing() -> None:
    wave = np.concatenate([talk(), talk()])
    small = [wave[at : at + 1000] for at in range(0, len(wave), 1000)]
    assert speech_activity(small) == speech_activity([wave])
    assert speech_activity([]).spans == ()
    assert speech_activity([wave[:100]]).spans == ()


def test_ramps() -> None:
    activity = SpeechActivity(((1.0, 2.0), (2.5, 3.0)))
    assert activity.speech_s == pytest.approx(1.5)
    at = activity.at([Fraction(1), 1.5, 2.0, 0.92, 2.08, 0.5, 2.25, 3.2], ramp_s=0.16)
    assert at.dtype == np.float32
    np.testing.assert_allclose(at, [1, 1, 1, 0.5, 0.5, 0, 0, 0], atol=1e-6)
    rising = activity.at([0.84, 0.88, 0.92, 0.96, 1.0])
    assert (np.diff(rising) > 0).all()
    np.testing.assert_array_equal(activity.at([0.99, 1.0, 2.01], ramp_s=0), [0, 1, 0])
    np.testing.assert_array_equal(SpeechActivity(()).at([0.0, 1.0]), [0, 0])
    assert activity.at([]).shape == (0,)
