"""Sound to mel spectrograms: one named front-end per network, each with the constants its network was trained with.

`whisper_log_mel` feeds the speech encoder (`models.audio_encoder`), `syncnet_mel` feeds SyncNet. Both take mono sound
at 16 kHz as a NumPy array or a CPU/GPU tensor and give a float32 tensor on the same device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from latentsync.core.errors import EmptyAudioError
from latentsync.core.rates import SPEECH_RATE_HZ

MEL_BINS = 80
Wave = Tensor | NDArray[Any]
"""(S,) mono sound at 16 kHz in [−1, 1], array or tensor."""

WHISPER_FFT, WHISPER_HOP = 400, 160
WHISPER_RATE_HZ = SPEECH_RATE_HZ // WHISPER_HOP
"""Mel steps per second of the speech encoder's front-end: 100."""
WHISPER_FLOOR = 1e-10
WHISPER_RANGE = 8.0
"""Decades kept below the loudest cell: OpenAI Whisper's own number, as are the other constants of this front-end."""

SYNCNET_FFT, SYNCNET_HOP = 800, 200
SYNCNET_RATE_HZ = SPEECH_RATE_HZ // SYNCNET_HOP
"""Mel columns per second of SyncNet's front-end: 80."""

_BLOCK_STEPS = 3000  # steps whose spectra are held at once; bounds memory, changes nothing


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def slaney_filterbank(num_bands: int, fft: int, low_hz: float, high_hz: float) -> NDArray[np.float32]:
    """Triangles on Slaney's mel scale, each of area one, for 16 kHz.

    Returns: (num_bands, fft // 2 + 1) float32; multiply a power or magnitude spectrum with it.
    Source: M. Slaney, Auditory Toolbox (1998): linear below 1 kHz (3 mel per 200 Hz), 27 steps per factor 6.4 above.
    """
    low, high = _mel(np.array([low_hz, high_hz], dtype=np.float64))
    edges = _hz(np.linspace(float(low), float(high), num_bands + 2))
    bins = np.linspace(0, SPEECH_RATE_HZ / 2, fft // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2
    return (np.maximum(0, np.minimum(rising, falling)) / area).astype(np.float32)


@lru_cache(maxsize=8)
def _constants(fft: int, low_hz: float, high_hz: float, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """The periodic Hann window (fft,) and the filterbank (80, fft // 2 + 1)."""
    bank = torch.from_numpy(slaney_filterbank(MEL_BINS, fft, low_hz, high_hz))
    window = torch.hann_window(fft, dtype=torch.float64)
    return window.to(device, dtype), bank.to(device, dtype)


def _wave(wave: Wave, dtype: torch.dtype) -> Tensor:
    samples = torch.as_tensor(wave).to(dtype)
    if samples.ndim != 1:
        raise ValueError(f"wave: shape {tuple(samples.shape)}, expected (S,)")
    return samples


def whisper_log_mel(wave: Wave, maximum: float | None = None, steps: tuple[int, int] | None = None) -> Tensor:
    """Log-mel spectrogram as the Whisper encoders were trained on.

    Args:
        wave: (S,) sound at 16 kHz in [−1, 1].
        maximum: the log10 power that the floor hangs 8 below; None = the loudest cell of this wave, as in the
            reference. Give the whole file's (`whisper_maximum`) to get a part's values as they are in the file.
        steps: compute only steps a ≤ t < b; needs `maximum`.
    Returns: (80, S // 160) or (80, b − a) float32, 100 steps per second, normally in about [−1.5, 1.5].
    Raises: EmptyAudioError: shorter than one step (10 ms).
    Source: docs/method.md#audio-features:
        Hann 400, hop 160, reflected edges, power, Slaney bands, (max(log10, maximum − 8) + 4) / 4.
    """
    if steps is not None and maximum is None:
        raise ValueError("whisper_log_mel: a range of steps needs the maximum of the whole file")
    log = _whisper_log(wave, steps)
    return normalise_log_mel(log, float(log.max()) if maximum is None else maximum)


def whisper_maximum(wave: Wave) -> float:
    """The loudest cell of the log10 mel power of a whole wave; see `whisper_log_mel`."""
    return float(_whisper_log(wave, None).max())


def normalise_log_mel(log: Tensor, maximum: float) -> Tensor:
    """Log10 mel power to the encoder's input: floor at `maximum` − 8, then (x + 4) / 4."""
    return (log.clamp(min=maximum - WHISPER_RANGE) + 4) / 4


def _whisper_log(wave: Wave, steps: tuple[int, int] | None) -> Tensor:
    samples = _wave(wave, torch.float32)
    num_steps = len(samples) // WHISPER_HOP
    if num_steps == 0:
        raise EmptyAudioError(
            f"the sound has {len(samples)} samples at 16 kHz; {WHISPER_HOP} (10 ms) or more are needed"
        )
    start, end = (0, num_steps) if steps is None else steps
    if not 0 <= start < end <= num_steps:
        raise ValueError(f"steps {start}–{end} are outside the {num_steps} steps of the sound")
    padded = _reflect_right(_reflect_left(samples))
    parts = []
    for a in range(start, end, _BLOCK_STEPS):
        b = min(end, a + _BLOCK_STEPS)
        parts.append(_log_power(padded[a * WHISPER_HOP : (b - 1) * WHISPER_HOP + WHISPER_FFT]))
    return torch.cat(parts, dim=1)


def _log_power(samples: Tensor) -> Tensor:
    """(400 + 160·(n − 1),) samples, context included → (80, n) log10 mel power."""
    window, bank = _constants(WHISPER_FFT, 0.0, SPEECH_RATE_HZ / 2, torch.float32, str(samples.device))
    spectra = torch.fft.rfft(samples.unfold(0, WHISPER_FFT, WHISPER_HOP) * window)
    power = spectra.real.square() + spectra.imag.square()
    return (bank @ power.T).clamp(min=WHISPER_FLOOR).log10()


def _reflect_left(samples: Tensor) -> Tensor:
    """Put 200 mirrored samples in front; sound shorter than 201 samples is lengthened with zeros first."""
    half = WHISPER_FFT // 2
    samples = nnf.pad(samples, (0, max(0, half + 1 - len(samples))))
    return torch.cat([samples[1 : half + 1].flip(0), samples])


def _reflect_right(samples: Tensor) -> Tensor:
    half = WHISPER_FFT // 2
    return torch.cat([samples, samples[-half - 1 : -1].flip(0)])


def whisper_log_blocks(blocks: Iterable[NDArray[np.float32]], seconds: float = 4.0) -> Iterator[Tensor]:
    """Log10 mel power of sound that comes in blocks of any length; holds about `seconds` of sound.

    Args:
        blocks: arrays (n,) float32, one after the other the mono sound at 16 kHz.
        seconds: sound gathered before a spectrum is computed.
    Yields: (80, n) float32, together (80, S // 160): what `normalise_log_mel` turns into the rows of `whisper_log_mel`.
    """
    seen = done = 0
    rest: Tensor | None = None  # sound from the first sample of the next step's window on
    for block in gather_blocks(blocks, max(WHISPER_FFT, int(seconds * SPEECH_RATE_HZ))):
        samples = torch.from_numpy(block)
        seen += len(block)
        rest = _reflect_left(samples) if rest is None else torch.cat([rest, samples])
        num_steps = (min(seen, len(rest) - WHISPER_FFT // 2) - WHISPER_FFT // 2) // WHISPER_HOP + 1
        if num_steps > 0:
            yield _log_power(rest[: (num_steps - 1) * WHISPER_HOP + WHISPER_FFT])
            rest = rest[num_steps * WHISPER_HOP :]
            done += num_steps
    left = seen // WHISPER_HOP - done
    if rest is not None and left > 0:
        yield _log_power(_reflect_right(rest)[: (left - 1) * WHISPER_HOP + WHISPER_FFT])


def gather_blocks(blocks: Iterable[NDArray[np.float32]], num_samples: int) -> Iterator[NDArray[np.float32]]:
    """Join small blocks until `num_samples` are together; only the last one is shorter. Empty blocks are left out."""
    held: list[NDArray[np.float32]] = []
    size = 0
    for block in blocks:
        held.append(np.asarray(block, dtype=np.float32))
        size += len(block)
        if size >= num_samples:
            yield np.concatenate(held)
            held, size = [], 0
    if size:
        yield np.concatenate(held)


def syncnet_mel(wave: Wave, columns: tuple[int, int] | None = None) -> Tensor:
    """Mel spectrogram as SyncNet was trained on, computed in float64.

    Args:
        wave: (S,) sound at 16 kHz in [−1, 1].
        columns: compute only columns a ≤ t < b of the whole.
    Returns: (80, 1 + S // 200) or (80, b − a) float32 in [−4, 4], 80 columns per second.
    Raises: EmptyAudioError: no samples.
    Source: docs/method.md#syncnet-mel: pre-emphasis 0.97, Hann 800, hop 200, zeros beyond the edges, magnitude, Slaney
        bands from 55 to 7600 Hz, 20·log10(max(1e-5, m)) − 20 dB, clip(8·(dB + 100)/100 − 4, −4, 4).
    """
    samples = _wave(wave, torch.float64)
    if len(samples) == 0:
        raise EmptyAudioError("the sound has no samples")
    num_columns = 1 + len(samples) // SYNCNET_HOP
    start, end = (0, num_columns) if columns is None else columns
    if not 0 <= start < end <= num_columns:
        raise ValueError(f"columns {start}–{end} are outside the {num_columns} columns of the sound")
    half = SYNCNET_FFT // 2
    sharp = nnf.pad(torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]]), (half, half))
    window, bank = _constants(SYNCNET_FFT, 55.0, 7600.0, torch.float64, str(samples.device))
    parts = []
    for a in range(start, end, _BLOCK_STEPS):
        b = min(end, a + _BLOCK_STEPS)
        spans = sharp[a * SYNCNET_HOP : (b - 1) * SYNCNET_HOP + SYNCNET_FFT].unfold(0, SYNCNET_FFT, SYNCNET_HOP)
        level_db = 20 * (bank @ torch.fft.rfft(spans * window).abs().T).clamp(min=1e-5).log10() - 20
        parts.append((8 * (level_db + 100) / 100 - 4).clamp(-4, 4).float())
    return torch.cat(parts, dim=1)
