"""Sound headers that no recording has, and more channels than have names."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from latentsync.core.errors import MediaError
from latentsync.media import read_audio


def written(path: Path, channels: int, rate_hz: int = 16000, width: int = 2) -> Path:
    """A tone of half scale in the first channel, a quarter in all others."""
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    gains = np.full(channels, 0.25)
    gains[0] = 0.5
    full = {1: 127, 2: 32767, 4: 2**31 - 1}[width]
    codes = np.rint(tone[:, None] * gains * full) + (128 if width == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(codes.astype({1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())
    return path


@pytest.mark.parametrize("channels", [9, 17, 20, 32, 48, 64])
def test_channels_without_names_are_averaged(tmp_path: Path, channels: int) -> None:
    sound = read_audio(written(tmp_path / "a.wav", channels))
    assert len(sound) == 8000
    wanted = (0.5 + 0.25 * (channels - 1)) / channels
    assert abs(float(np.abs(sound[1000:-1000]).max()) - wanted) < 2e-3


@pytest.mark.parametrize("width", [1, 4])
def test_in_every_packed_format(tmp_path: Path, width: int) -> None:
    sound = read_audio(written(tmp_path / "a.wav", 9, width=width))
    assert abs(float(np.abs(sound[1000:-1000]).max()) - 2.5 / 9) < 1e-2


@pytest.mark.parametrize("rate_hz", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_of_no_recording_is_refused(tmp_path: Path, rate_hz: int) -> None:
    with pytest.raises(MediaError, match="which no recording has"):
        read_audio(written(tmp_path / "a.wav", 1, rate_hz))
