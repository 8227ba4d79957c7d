"""The cepstral front-end of the public SyncNet (used for scoring only; the generator hears something else)."""

from __future__ import annotations

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ

WINDOW_SAMPLES = 400
STEP_SAMPLES = 160
FFT_SIZE = 512
NUM_FILTERS = 26
NUM_COEFFICIENTS = 13
PRE_EMPHASIS = 0.97
LIFTER = 22
FULL_SCALE = 32768.0
"""The judge was trained on 16-bit sample values, and the log energy depends on the scale."""


def mfcc(wave: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients, 100 columns a second.

    Steps: pre-emphasis 0.97; rectangular windows of 25 ms every 10 ms, the last one padded with zeros; power spectrum
    |FFT₅₁₂|²/512; 26 triangular filters, equal on the mel scale 2595·log₁₀(1 + f/700) from 0 to 8 kHz; natural log;
    orthonormal DCT-II; sine lifter of 22; the first coefficient replaced by the log of the window's energy.

    Args:
        wave: (S,) float in [−1, 1], 16 kHz mono.
    Returns: (13, T) float64; T = 1 + ceil((S − 400)/160), at least 1.
    Source: the published SyncNet protocol (Chung & Zisserman 2016, evaluation code's stated settings);
        numbers pinned in tests/metrics/test_mfcc.py.
    """
    samples = np.asarray(wave, dtype=np.float64) * FULL_SCALE
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"wave: shape {samples.shape}, expected (S,) with S > 0")
    samples = np.append(samples[0], samples[1:] - PRE_EMPHASIS * samples[:-1])
    steps = 1 + max(0, -(-(len(samples) - WINDOW_SAMPLES) // STEP_SAMPLES))
    padded = np.zeros((steps - 1) * STEP_SAMPLES + WINDOW_SAMPLES)
    padded[: len(samples)] = samples[: len(padded)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::STEP_SAMPLES]
    power = np.abs(np.fft.rfft(windows, FFT_SIZE)) ** 2 / FFT_SIZE
    tiny = np.finfo(np.float64).eps
    energy = power.sum(axis=1)
    bands = power @ _filters().T
    cepstrum = np.log(np.where(bands == 0, tiny, bands)) @ _dct().T
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(NUM_COEFFICIENTS) / LIFTER)
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstrum.T


def _filters() -> np.ndarray:
    """(26, 257) triangles whose corners are rounded down to FFT bins."""
    top_mel = 2595 * np.log10(1 + SPEECH_RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, NUM_FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT_SIZE + 1) * corners_hz / SPEECH_RATE_HZ)[:, None]
    bins = np.arange(FFT_SIZE // 2 + 1)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins - left) / np.maximum(centre - left, 1)
    falling = (right - bins) / np.maximum(right - centre, 1)
    return np.where(bins < centre, np.maximum(rising, 0), np.maximum(falling, 0)) * ((bins >= left) & (bins < right))


def _dct() -> np.ndarray:
    """(13, 26) first rows of the orthonormal DCT-II."""
    rows = np.arange(NUM_COEFFICIENTS)[:, None]
    matrix = np.cos(np.pi * rows * (2 * np.arange(NUM_FILTERS) + 1) / (2 * NUM_FILTERS)) * np.sqrt(2 / NUM_FILTERS)
    matrix[0] /= np.sqrt(2)
    return matrix
