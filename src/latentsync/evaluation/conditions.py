"""Speech as it comes: quiet, noisy, over a telephone, in a hall, after a click. All made from clean speech."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from latentsync.core.rates import SPEECH_RATE_HZ

Wave = NDArray[np.float32]
Condition = Callable[[Wave], Wave]


def quieter(db: float) -> Condition:
    """The peak at −db dB of full scale."""
    return lambda wave: _scaled(wave, 10 ** (-db / 20))


def with_noise(snr_db: float, seed: int = 0) -> Condition:
    """Pink noise (1/f) so many dB below the speech, which is measured where it is loud."""

    def made(wave: Wave) -> Wave:
        spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=len(wave)))
        pitch = np.maximum(np.fft.rfftfreq(len(wave), 1 / SPEECH_RATE_HZ), 20.0)
        return _mixed(wave, np.fft.irfft(spectrum / np.sqrt(pitch), len(wave)), snr_db)

    return made


def with_music(snr_db: float, seed: int = 0) -> Condition:
    """Chords of harmonic tones that change each half second, with a beat of short noise, so many dB below."""

    def made(wave: Wave) -> Wave:
        rng = np.random.default_rng(seed)
        time = np.arange(len(wave)) / SPEECH_RATE_HZ
        music = np.zeros(len(wave))
        for start in range(0, len(wave), SPEECH_RATE_HZ // 2):
            part = slice(start, start + SPEECH_RATE_HZ // 2)
            root = 110 * 2 ** (rng.integers(0, 12) / 12)
            for step in (0, 4, 7):
                for harmonic in range(1, 7):
                    tone = np.sin(2 * np.pi * root * 2 ** (step / 12) * harmonic * time[part])
                    music[part] += tone / harmonic
            beat = rng.normal(size=len(time[part])) * np.exp(-np.arange(len(time[part])) / 800)
            music[part] += 2 * beat
        return _mixed(wave, music, snr_db)

    return made


def telephone(wave: Wave) -> Wave:
    """300 to 3400 Hz, as an 8 kHz line carries it."""
    spectrum = np.fft.rfft(wave)
    pitch = np.fft.rfftfreq(len(wave), 1 / SPEECH_RATE_HZ)
    keep = np.clip((pitch - 200) / 100, 0, 1) * np.clip((3600 - pitch) / 200, 0, 1)
    return np.fft.irfft(spectrum * keep, len(wave)).astype(np.float32)


def reverberant(rt60_s: float, seed: int = 0) -> Condition:
    """A hall whose sound falls by 60 dB in `rt60_s`: direct sound, then noise that decays, as loud as it."""

    def made(wave: Wave) -> Wave:
        count = int(rt60_s * SPEECH_RATE_HZ)
        tail = np.random.default_rng(seed).normal(size=count) * 10 ** (-3 * np.arange(count) / count)
        tail[: SPEECH_RATE_HZ // 100] = 0
        answer = np.r_[1.0, tail / np.sqrt((tail**2).sum())]
        size = len(wave) + len(answer)
        out = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(answer, size), size)[: len(wave)]
        return _scaled(out.astype(np.float32), float(np.abs(wave).max()))

    return made


def with_click(db: float) -> Condition:
    """Speech `db` dB below full scale, and one click at full scale in its first tenth of a second."""

    def made(wave: Wave) -> Wave:
        out = quieter(db)(wave)
        out[800:816] = np.resize([1.0, -1.0], 16)
        return out

    return made


CONDITIONS: dict[str, Condition] = {
    "as it is": lambda wave: wave,
    **{f"peak at -{db} dB": quieter(db) for db in (10, 20, 30, 40, 50)},
    "noise, 10 dB": with_noise(10),
    "noise, 0 dB": with_noise(0),
    "music, 10 dB": with_music(10),
    "telephone, 8 kHz": telephone,
    "reverb, 0.6 s": reverberant(0.6),
    "a loud click, speech at -20 dB": with_click(20),
    "a loud click, speech at -40 dB": with_click(40),
}
"""What the table of `studies/hearing_conditions.py` has a line for."""


def _scaled(wave: Wave, peak: float) -> Wave:
    top = float(np.abs(wave).max())
    return (wave * (peak / top)).astype(np.float32) if top > 0 else wave.copy()


def _mixed(wave: Wave, other: np.ndarray, snr_db: float) -> Wave:
    """`other` below the speech by `snr_db`; the sum no louder at its peak than full scale."""
    frames = wave[: len(wave) // 640 * 640].reshape(-1, 640)
    power = np.percentile((frames.astype(np.float64) ** 2).mean(axis=1), 75) if len(frames) else 0.0
    noise = float((other**2).mean())
    out = wave + other * np.sqrt(power / noise / 10 ** (snr_db / 10)) if noise > 0 else wave
    return _scaled(out.astype(np.float32), min(1.0, float(np.abs(out).max())))
