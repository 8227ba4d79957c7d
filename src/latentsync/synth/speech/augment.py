"""Changes to a voice and a room that keep every phone's time exactly known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.synth.arrays import Real
from latentsync.synth.speech.engines import Utterance


def change_size(said: Utterance, factor: float) -> Utterance:
    """Another speaker's size: pitch and formants times `factor` (over 1 = smaller person), by resampling.

    The factor is rounded to 1/200 and the phones are scaled by the same exact ratio.
    """
    from scipy.signal import resample_poly

    n = round(factor * 200)
    g = int(np.gcd(n, 200))
    audio = resample_poly(said.audio, 200 // g, n // g).astype(np.float32)
    phones = tuple(p.moved(0.0, 200 / n) for p in said.phones)
    return replace(said, audio=audio, phones=phones, voice=f"{said.voice}:x{n / 200:g}")


def tilt_spectrum(audio: Real, db_per_octave: float) -> Real:
    """Brighter (> 0) or duller voice: a linear-phase tilt around 1 kHz, without delay."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(len(audio), 1 / SPEECH_RATE_HZ)
    gain = 10 ** (db_per_octave * np.log2(np.maximum(hz, 60) / 1000) / 20)
    return np.fft.irfft(spectrum * np.clip(gain, 0.1, 10), len(audio)).astype(np.float32)


def small_room(audio: Real, rng: np.random.Generator, length_s: float, level: float) -> Real:
    """Add the echo of a small room; the direct sound is not delayed."""
    from scipy.signal import fftconvolve

    n = int(SPEECH_RATE_HZ * length_s)
    response = rng.normal(size=n) * np.exp(-np.arange(n) / (n / 6)) * level
    response[0] = 1
    return fftconvolve(audio, response)[: len(audio)].astype(np.float32)


def background_noise(num: int, rng: np.random.Generator, level: float, colour: float) -> Real:
    """(num,) noise with spectrum 1/f^colour (0 = white, 1 = pink, 2 = brown) and the given deviation."""
    spectrum = np.fft.rfft(rng.normal(size=num))
    hz = np.fft.rfftfreq(num, 1 / SPEECH_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(hz, 40) ** (colour / 2), num)
    return (noise / (noise.std() + 1e-12) * level).astype(np.float32)


def breath(rng: np.random.Generator, length_s: float) -> Real:
    """A soft breath taken in: filtered noise that swells and fades."""
    n = int(length_s * SPEECH_RATE_HZ)
    swell = np.sin(np.linspace(0, np.pi, n)) ** 2
    return background_noise(n, rng, 0.006, 0.7) * swell.astype(np.float32)
