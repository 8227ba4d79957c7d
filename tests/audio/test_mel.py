"""Golden values, the filterbank against transformers', and parts and streams against whole files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.audio import syncnet_mel, whisper_log_mel
from latentsync.audio.mel import (
    gather_blocks,
    normalise_log_mel,
    slaney_filterbank,
    whisper_log_blocks,
    whisper_maximum,
)
from latentsync.core.errors import EmptyAudioError


def chirp(seconds: float = 2.0) -> np.ndarray:
    """The signal of the golden values: a chirp from 200 Hz and a quiet tone at 3 kHz."""
    t = np.arange(int(16000 * seconds)) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (200 + 400 * t) * t) + 0.05 * np.sin(2 * np.pi * 3000 * t)
    return wave.astype(np.float32)


def noise(num_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(num_samples)).astype(np.float32)


def test_whisper_log_mel_golden_values() -> None:
    mel = whisper_log_mel(chirp())
    assert mel.shape == (80, 200)
    assert mel.dtype == torch.float32
    got = [mel.mean(), mel.std(correction=0), mel[10, 0], mel[10, 199], mel.min()]
    assert [float(value) for value in got] == pytest.approx(
        [-0.421512, 0.495094, 0.787322, 0.015523, -0.658597], abs=2e-5
    )


def test_syncnet_mel_golden_values() -> None:
    mel = syncnet_mel(chirp())
    assert mel.shape == (80, 161)
    assert mel.dtype == torch.float32
    got = [mel.mean(), mel.std(correction=0), mel[10, 0], mel[10, 160], mel[0, 80]]
    assert [float(value) for value in got] == pytest.approx([-3.431734, 1.397439, -0.963595, -0.606306, -4.0], abs=2e-5)


@pytest.mark.parametrize(("fft", "low_hz", "high_hz"), [(400, 0.0, 8000.0), (800, 55.0, 7600.0)])
def test_filterbank_is_the_one_of_transformers(fft: int, low_hz: float, high_hz: float) -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(fft // 2 + 1, 80, low_hz, high_hz, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(slaney_filterbank(80, fft, low_hz, high_hz), theirs.T, atol=1e-8)


def test_whisper_log_mel_is_the_one_of_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    wave = np.concatenate([chirp(1.0), noise(16000), np.zeros(16000, np.float32)])
    theirs = WhisperFeatureExtractor()(wave, sampling_rate=16000, padding="longest").input_features[0]
    np.testing.assert_allclose(whisper_log_mel(wave).numpy(), theirs, atol=1e-3)


@pytest.mark.parametrize("num_samples", [160, 200, 201, 359, 360, 400, 401, 16000, 70001])
@pytest.mark.parametrize("block", [37, 1024, 70001])
def test_stream_gives_the_values_of_the_whole(num_samples: int, block: int) -> None:
    wave = noise(num_samples)
    whole = whisper_log_mel(wave)
    assert whole.shape == (80, num_samples // 160)
    blocks = [wave[at : at + block] for at in range(0, num_samples, block)]
    streamed = torch.cat(list(whisper_log_blocks(blocks, seconds=0.05)), dim=1)
    torch.testing.assert_close(normalise_log_mel(streamed, whisper_maximum(wave)), whole, atol=1e-6, rtol=0)


def test_part_of_a_file_has_the_values_of_the_file() -> None:
    wave = np.concatenate([0.05 * chirp(1.5), chirp(1.0)])  # the floor of the quiet part hangs below the loud one
    mel, columns = whisper_log_mel(wave), syncnet_mel(wave)
    part = whisper_log_mel(wave, whisper_maximum(wave), steps=(30, 110))
    torch.testing.assert_close(part, mel[:, 30:110], atol=1e-6, rtol=0)
    torch.testing.assert_close(syncnet_mel(wave, columns=(30, 110)), columns[:, 30:110], atol=1e-6, rtol=0)
    own = whisper_log_mel(wave[: 110 * 160])
    assert (own[:, 30:100] - mel[:, 30:100]).abs().max() > 0.1, "without the file's maximum the floor differs"


def test_long_waves_are_computed_in_pieces_without_a_seam() -> None:
    wave = noise(16000 * 40)
    mel, columns = whisper_log_mel(wave, maximum=2.0), syncnet_mel(wave)
    seam = slice(2990, 3010)
    torch.testing.assert_close(whisper_log_mel(wave, 2.0, (2990, 3010)), mel[:, seam], atol=1e-6, rtol=0)
    torch.testing.assert_close(syncnet_mel(wave, (2990, 3010)), columns[:, seam], atol=1e-6, rtol=0)


def test_silence_and_tensors() -> None:
    assert torch.equal(whisper_log_mel(np.zeros(1600, np.float32)), torch.full((80, 10), -1.5))
    assert torch.equal(syncnet_mel(np.zeros(1600, np.float32)), torch.full((80, 9), -4.0))
    assert torch.equal(whisper_log_mel(torch.from_numpy(chirp())), whisper_log_mel(chirp()))


def test_gathered_blocks_lose_nothing() -> None:
    wave = noise(5000)
    blocks = list(gather_blocks([wave[:10], wave[10:10], wave[10:3000], wave[3000:]], 1500))
    assert [len(block) for block in blocks] == [3000, 2000]
    np.testing.assert_array_equal(np.concatenate(blocks), wave)


def test_bad_input_is_refused() -> None:
    with pytest.raises(EmptyAudioError, match="159 samples"):
        whisper_log_mel(noise(159))
    with pytest.raises(EmptyAudioError):
        syncnet_mel(noise(0))
    with pytest.raises(ValueError, match="expected \\(S,\\)"):
        whisper_log_mel(np.zeros((2, 1600), np.float32))
    with pytest.raises(ValueError, match="maximum"):
        whisper_log_mel(noise(1600), steps=(0, 5))
    with pytest.raises(ValueError, match="outside"):
        whisper_log_mel(noise(1600), 0.0, steps=(5, 11))
    with pytest.raises(ValueError, match="outside"):
        syncnet_mel(noise(1600), columns=(5, 10))
