"""Loudness is what the standard's own examples say; true peaks are held, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small_films import SMALL, frames

from latentsync.core.values import Float
from latentsync.media.audio import SoundDecoder, write_wav
from latentsync.media.loudness import LoudnessMeter, limited, measure_loudness
from latentsync.media.mixing import Insert, MixPlan, WrittenLoudness, duck_gain
from latentsync.media.writer import VideoWriter
from synth_media import tone

RATE = 48000


def blocks(wave: Float, size: int = 8192) -> Iterator[Float]:
    return iter([wave[:, at : at + size] for at in range(0, wave.shape[1], size)])


def true_peak_db(wave: Float) -> float:
    """By FFmpeg's own meter."""
    meter = LoudnessMeter(RATE, "stereo" if len(wave) == 2 else "mono")
    for block in blocks(np.pad(wave, ((0, 0), (0, RATE // 2)))):
        meter.push(block)
    return meter.loudness().true_peak_dbtp or -200.0


def sine(level_db: float, seconds: float = 3.0, hz: float = 1000.0) -> Float:
    return (tone(seconds, RATE, 2, hz) * 2 * 10 ** (level_db / 20)).astype(np.float32)


@pytest.mark.parametrize("level_db", [-23.0, -33.0])
def test_a_stereo_tone_of_so_many_decibels_has_as_many_lufs(tmp_path: Path, level_db: float) -> None:
    """EBU Tech 3341, cases 1 and 2: 1 kHz in both channels."""
    write_wav(tmp_path / "a.wav", sine(level_db), RATE)
    assert measure_loudness(tmp_path / "a.wav").integrated_lufs == pytest.approx(level_db, abs=0.1)


def test_only_the_chosen_spans_count_and_silence_has_no_loudness(tmp_path: Path) -> None:
    loud, quiet = sine(-20, 2), sine(-40, 2)
    write_wav(tmp_path / "a.wav", np.concatenate([loud, quiet], axis=1), RATE)
    assert measure_loudness(tmp_path / "a.wav", spans=[(2.0, 4.0)]).integrated_lufs == pytest.approx(-40, abs=0.2)
    assert measure_loudness(tmp_path / "a.wav", start_s=Fraction(2)).integrated_lufs == pytest.approx(-40, abs=0.2)
    write_wav(tmp_path / "b.wav", np.zeros((1, RATE), np.float32), RATE)
    silent = measure_loudness(tmp_path / "b.wav")
    assert silent.integrated_lufs is None and silent.true_peak_dbtp is None


def test_peaks_between_the_samples_are_held_and_quiet_parts_stay_to_the_bit() -> None:
    times = np.arange(3 * RATE)
    between = np.sin(np.pi / 2 * times + np.pi / 4)  # samples at 0.707, true peaks at 1
    wave = np.tile(np.where((times > RATE) & (times < 2 * RATE), 1.4 * between, 0.3 * between), (2, 1)).astype("f4")
    made = np.concatenate(list(limited(blocks(wave), RATE)), axis=1)
    assert made.shape == wave.shape
    assert np.abs(wave).max() < 1 < 10 ** (true_peak_db(wave) / 20)
    assert -2.0 < true_peak_db(made) < -1.0
    assert np.array_equal(made[:, : RATE - 600], wave[:, : RATE - 600])
    assert np.array_equal(made[:, 2 * RATE + 600 :], wave[:, 2 * RATE + 600 :])


@pytest.mark.parametrize("seed", range(3))
def test_any_sum_stays_below_the_ceiling(seed: int) -> None:
    random = np.random.default_rng(seed)
    wave = (random.normal(0, 0.6, (2, RATE)) * random.uniform(0, 1, RATE).round()).astype("f4")
    made = np.concatenate(list(limited(blocks(wave), RATE)), axis=1)
    assert true_peak_db(wave) > 0 and true_peak_db(made) < -1


def test_music_is_lowered_where_somebody_speaks() -> None:
    gain = duck_gain([(2.0, 3.0), (3.2, 4.0)], 12.0, 0, 6 * RATE, RATE)
    decibels = 20 * np.log10(gain)
    assert [float(decibels[round(s * RATE)]) for s in (1.7, 2.5, 3.1, 3.9, 4.7)] == pytest.approx(
        [0, -12, -10, -12, 0], abs=0.1
    )
    assert np.abs(np.diff(decibels)).max() < 12 / (0.25 * RATE) + 1e-4
    parts = [duck_gain([(2.0, 3.0), (3.2, 4.0)], 12.0, at, at + 8192, RATE) for at in range(0, 6 * RATE, 8192)]
    assert np.allclose(np.concatenate(parts)[: 6 * RATE], gain)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_a_written_mix_keeps_its_true_peak_and_knows_its_loudness(tmp_path: Path, suffix: str) -> None:
    write_wav(tmp_path / "music.wav", sine(-3, 2, 220.0), RATE)
    write_wav(tmp_path / "speech.wav", sine(-3, 2, 900.0), RATE)
    measured = WrittenLoudness()
    inserts = (
        Insert(tmp_path / "speech.wav", Fraction(0), Fraction(2), replaces=False),
        Insert(tmp_path / "music.wav", Fraction(0), Fraction(2), replaces=False, is_bed=True, gain=0.9),
    )
    out = tmp_path / f"out{suffix}"
    with VideoWriter(out, SMALL, audio=MixPlan(None, inserts, written=measured)) as writer:
        for frame in frames(50):
            writer.write(frame)
    wave = np.concatenate(list(SoundDecoder(out, RATE, "stereo").samples()), axis=1)
    assert true_peak_db(wave) < -1.0
    given = measured.loudness()
    found = measure_loudness(out).integrated_lufs
    assert given.integrated_lufs is not None and found is not None
    assert given.integrated_lufs == pytest.approx(found, abs=0.5) and given.true_peak_dbtp < -1  # type: ignore[operator]
