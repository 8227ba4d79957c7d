"""Sound laid over a film's sound: exact places, replaced or added, no clicks, endless silence after it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import synth_media
from latentsync.core.errors import EmptyAudioError
from latentsync.media import Insert, MixPlan, VideoReader, VideoWriter, read_audio, write_wav
from latentsync.media.mixing import STEP_SAMPLES

RATE = 16000


def level(path: Path, value: float, seconds: float, channels: int = 1) -> Path:
    """A file whose samples are all the same, so that every sum can be read off."""
    write_wav(path, np.full((channels, round(seconds * RATE)), value, np.float32), RATE)
    return path


def mixed(plan: MixPlan, seconds: float, layout: str = "mono") -> np.ndarray:
    num = round(seconds * RATE)
    blocks = plan.samples(RATE, layout)
    out = np.concatenate(list(islice(blocks, -(-num // STEP_SAMPLES))), axis=1)[:, :num]
    blocks.close()
    return out


def at(wave: np.ndarray, seconds: float) -> float:
    return float(wave[0, round(seconds * RATE)])


def test_replaced_added_and_left_alone(tmp_path: Path) -> None:
    film, a, b = level(tmp_path / "f.wav", 0.1, 6), level(tmp_path / "a.wav", 0.4, 9), level(tmp_path / "b.wav", 0.2, 9)
    inserts = (
        Insert(a, Fraction(1), Fraction(1)),
        Insert(b, Fraction(3), Fraction(2), replaces=False),
        Insert(a, Fraction(4), Fraction(1, 2), replaces=False),
    )
    wave = mixed(MixPlan(film, inserts), 7)
    audio_features = [at(wave, s) for s in (0.5, 0.99, 1.5, 2.01, 2.5, 3.5, 4.2, 4.7, 5.5, 6.5)]
    assert audio_features == pytest.approx([0.1, 0.1, 0.4, 0.1, 0.1, 0.3, 0.7, 0.3, 0.1, 0.0], abs=0.002)
    assert np.abs(np.diff(wave[0, : 5 * RATE])).max() < 0.005  # nothing jumps, nothing clicks


def test_an_insert_lies_at_its_exact_sample_and_begins_where_it_is_told(tmp_path: Path) -> None:
    tick = np.zeros((1, RATE * 3), np.float32)
    tick[0, RATE * 2] = 0.5
    write_wav(tmp_path / "tick.wav", tick, RATE)
    insert = Insert(tmp_path / "tick.wav", Fraction(5, 2), Fraction(2), start_s=Fraction(3, 2))
    wave = mixed(MixPlan(None, (insert,)), 5)
    assert np.flatnonzero(np.abs(wave[0]) > 0.1).tolist() == [RATE * 3]


def test_between_speeches_that_touch_the_film_is_not_heard(tmp_path: Path) -> None:
    film, quiet = level(tmp_path / "f.wav", 0.5, 4), level(tmp_path / "q.wav", 0.0, 4)
    inserts = tuple(Insert(quiet, Fraction(second), Fraction(1)) for second in (2, 1))
    wave = mixed(MixPlan(film, inserts), 4)
    assert np.abs(wave[0, round(1.05 * RATE) : round(2.95 * RATE)]).max() == 0


def test_a_speech_that_ends_early_is_followed_by_silence_and_sums_are_limited(tmp_path: Path) -> None:
    film, short = level(tmp_path / "f.wav", 0.8, 4), level(tmp_path / "s.wav", 0.8, 0.5)
    wave = mixed(MixPlan(film, (Insert(short, Fraction(1), Fraction(2)),)), 4)
    assert at(wave, 2.0) == 0
    loud = mixed(MixPlan(film, (Insert(short, Fraction(1), Fraction(1, 2), replaces=False),)), 2)
    assert 0.83 < loud.max() < 10 ** (-1 / 20)


def test_mono_speech_in_a_stereo_film_keeps_its_level(tmp_path: Path) -> None:
    film, speech = level(tmp_path / "f.wav", 0.1, 2, 2), level(tmp_path / "s.wav", 0.4, 2)
    wave = mixed(MixPlan(film, (Insert(speech, Fraction(0), Fraction(1)),)), 2, "stereo")
    assert wave[:, RATE // 2] == pytest.approx([0.4, 0.4], abs=0.002)


def test_the_written_file_has_the_mix_in_the_films_own_kind(tmp_path: Path) -> None:
    film = synth_media.make_film(tmp_path / "film.mp4", 50, sound=synth_media.tone(2.0, 44100, 2), sound_rate_hz=44100)
    quiet = level(tmp_path / "q.wav", 0.0, 1)
    plan = MixPlan(film, (Insert(quiet, Fraction(1, 2), Fraction(1)),))
    with VideoReader(film) as reader, VideoWriter(tmp_path / "o.mp4", like=reader.info, audio=plan) as writer:
        for frame in reader:
            writer.write(frame)
    info = plan.info()
    assert (info.rate_hz, info.layout) == (44100, "stereo")
    wave = read_audio(tmp_path / "o.mp4")
    loud = [float(np.abs(wave[round(s * RATE) : round((s + 0.2) * RATE)]).max()) for s in (0.2, 0.9, 1.7)]
    assert len(wave) / RATE == pytest.approx(2.0, abs=0.1)
    assert loud[0] > 0.05 and loud[2] > 0.05 and loud[1] < 0.003


def test_a_file_without_sound_is_refused(tmp_path: Path) -> None:
    film = synth_media.make_film(tmp_path / "film.mp4", 5)
    with pytest.raises(EmptyAudioError, match=r"film\.mp4: no sound"):
        MixPlan(None, (Insert(film, Fraction(0), Fraction(1)),)).info()
