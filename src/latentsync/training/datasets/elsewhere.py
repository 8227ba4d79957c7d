"""A window of sound as another microphone in another room would hear it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.mel import whisper_log_mel
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.training.datasets.augment import SoundRange, add_room, change_sound

FLOOR_DECADES = 0.6
"""Largest rise of the log-mel's floor: a window's loudest sound may be this much softer than the film's."""
BAND_HZ = (3400, 7000)
QUIET = (1e-5, 1e-2)
"""Root mean square of the audio features where nobody speaks."""
HUM_HZ = (50, 60, 100, 120)


def in_other_rooms(
    wave: np.ndarray, rng: np.random.Generator, sound: SoundRange, room: float, band: float, colour: float
) -> Tensor:
    """(S,) float32 → (80, S / 160) float32, without delay.

    Args: room, band: share of windows with the echo of a room, with high frequencies cut as by a codec; colour: spread
        of a smooth random curve over the mel bins, in decades.
    """
    chance, most = rng.random(4), rng.random(4)
    if chance[0] < room:
        wave = add_room(wave, rng, float(0.05 + 0.25 * most[0]), float(0.06 * most[1]))
    if chance[1] < band:
        spectrum = np.fft.rfft(wave)
        edge = BAND_HZ[0] + (BAND_HZ[1] - BAND_HZ[0]) * most[2]
        spectrum[np.fft.rfftfreq(len(wave), 1 / SPEECH_RATE_HZ) > edge] *= 0.003
        wave = np.fft.irfft(spectrum, len(wave)).astype(np.float32)
    mel = whisper_log_mel(change_sound(wave, rng, sound))
    curve = np.interp(np.linspace(0, 4, len(mel)), np.arange(5), rng.standard_normal(5)) * colour / 4
    mel = mel + torch.from_numpy(curve).float()[:, None]
    return torch.maximum(mel, mel.max() - 2 + FLOOR_DECADES / 4 * most[3])  # 8 decades are 2 in this scale


def at_level(wave: np.ndarray, peak_db: float) -> np.ndarray:
    """(S,) float32 with its loudest sample so many dB about full scale, as 16-bit sound holds it; silence stays."""
    peak = float(np.abs(wave).max(initial=0.0))
    if peak == 0:
        return wave
    return np.asarray(np.rint(wave * (32767 * 10 ** (peak_db / 20) / peak)) / 32767, np.float32)


def warped(mel: Tensor, factor: float) -> Tensor:
    """(80, T) with the frequencies of bin k · factor at bin k: a longer or a shorter throat."""
    at = (torch.arange(len(mel)) * factor).clamp(max=len(mel) - 1)
    low = at.floor().long()
    share = (at - low)[:, None]
    return mel[low] * (1 - share) + mel[(low + 1).clamp(max=len(mel) - 1)] * share


def without_speech(rng: np.random.Generator, length: int) -> np.ndarray:
    """(S,) float32: digital silence in a quarter of the cases, else faint noise of a drawn colour, sometimes a hum."""
    if rng.random() < 0.25:
        return np.zeros(length, np.float32)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / SPEECH_RATE_HZ), 40.0) ** rng.uniform(-1, 0.3)
    noise = np.fft.irfft(spectrum, length)
    noise /= noise.std()
    if rng.random() < 0.3:
        noise += rng.uniform(0, 2) * np.sin(2 * np.pi * rng.choice(HUM_HZ) * np.arange(length) / SPEECH_RATE_HZ)
    low, high = np.log10(QUIET)
    return np.asarray(noise / noise.std() * 10 ** rng.uniform(low, high), np.float32)
