"""The dubbing mix through whole runs: the bed lies where it should, is lowered under speech, and levels are right."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import whole_runs

import planted
import synth_media
from latentsync.core.errors import ConfigError, MediaError
from latentsync.media import VideoReader, VideoWriter, read_audio, write_wav
from latentsync.media.loudness import measure_loudness
from latentsync.media.sound_track import AudioPlan
from latentsync.pipeline import Lipsync

SPEECH = Path(str(resources.files("latentsync") / "assets" / "sample" / "speech.wav"))
RATE = 16000
Film = Callable[[float, np.ndarray | None], Path]


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """0.4 s of silence, a second of real speech, 0.6 s of silence."""
    wave = read_audio(SPEECH)
    start = int(np.abs(wave).argmax()) - RATE // 2
    quiet = np.zeros(RATE, np.float32)
    write_wav(tmp_path / "spoken.wav", np.concatenate([quiet[:6400], wave[start : start + RATE] * 0.5, quiet[:9600]]))
    return tmp_path / "spoken.wav"


@pytest.fixture
def film(tmp_path: Path) -> Film:
    def make(seconds: float, sound: np.ndarray | None) -> Path:
        silent = planted.film(tmp_path / "silent.mp4", whole_runs.arrays(round(25 * seconds)))
        if sound is None:
            return silent
        write_wav(tmp_path / "own.wav", sound)
        plan = AudioPlan(tmp_path / "own.wav")
        with VideoReader(silent) as reader, VideoWriter(tmp_path / "film.mkv", reader.info, audio=plan) as writer:
            for frame in reader:
                writer.write(frame)
        return tmp_path / "film.mkv"

    return make


def level(wave: np.ndarray, start_s: float, end_s: float, hz: float) -> float:
    """Amplitude of a tone in a part of a sound."""
    part = wave[round(start_s * RATE) : round(end_s * RATE)]
    times = np.arange(len(part)) / RATE
    return float(2 * abs(np.mean(part * np.exp(-2j * np.pi * hz * times))))


def music(path: Path, seconds: float = 3.0) -> Path:
    write_wav(path, synth_media.tone(seconds, RATE, 1, 6000.0) / 5)  # amplitude 0.1, above speech
    return path


def test_a_bed_lies_under_the_speech_and_is_lowered_where_somebody_speaks(
    model: Lipsync, tmp_path: Path, film: Film, spoken: Path
) -> None:
    bed = music(tmp_path / "m.wav")
    video = film(2.0, None)
    plain = model(video, spoken, tmp_path / "plain.mkv", mix=str(bed))
    wave = read_audio(tmp_path / "plain.mkv")
    assert [level(wave, s, s + 0.2, 6000) for s in (0.1, 0.9, 1.7)] == pytest.approx([0.1] * 3, rel=0.1)
    said = read_audio(spoken)
    assert np.corrcoef(wave[6400:22400], said[6400:22400])[0, 1] > 0.6
    ducked = model(video, spoken, tmp_path / "ducked.mkv", mix=str(bed), duck=20)
    wave = read_audio(tmp_path / "ducked.mkv")
    assert level(wave, 0.02, 0.1, 6000) == pytest.approx(0.1, rel=0.1)
    assert level(wave, 0.8, 1.1, 6000) == pytest.approx(0.01, rel=0.3)
    assert level(wave, 1.95, 2.0, 6000) > 0.04
    for result in (plain, ducked):
        assert result.loudness is not None and not [w for w in result.warnings if "softer mouth" not in w]
        given = result.loudness["result_lufs"]
        assert given == pytest.approx(measure_loudness(result.out_path).integrated_lufs, abs=0.5)
        assert result.loudness["mix_lufs"] == pytest.approx(measure_loudness(bed).integrated_lufs, abs=0.1)


def test_a_bed_is_cut_with_the_video_and_its_end_is_told(
    model: Lipsync, tmp_path: Path, film: Film, spoken: Path
) -> None:
    wave = np.concatenate([synth_media.tone(0.5, RATE, 1, 3000.0), synth_media.tone(0.5, RATE, 1, 6000.0)], axis=1) / 5
    write_wav(tmp_path / "m.wav", wave)
    result = model(film(2.0, None), spoken, tmp_path / "o.mkv", mix=tmp_path / "m.wav", start_s=0.5)
    audio_features = read_audio(tmp_path / "o.mkv")
    assert (
        level(audio_features, 0.1, 0.4, 6000) == pytest.approx(0.1, rel=0.1)
        and level(audio_features, 0.1, 0.4, 3000) < 0.01
    )
    assert any("m.wav ends at 1.00 s, before the result" in warning for warning in result.warnings)


def test_speech_is_brought_to_the_films_own_dialogue(model: Lipsync, tmp_path: Path, film: Film, spoken: Path) -> None:
    own = read_audio(spoken) / 4  # 12 dB below
    result = model(film(2.0, own), spoken, tmp_path / "o.mkv", match_loudness=True)
    assert result.loudness is not None
    assert result.loudness["gain_db"][str(spoken)] == pytest.approx(-12, abs=0.7)
    made, before = (measure_loudness(path).integrated_lufs for path in (tmp_path / "o.mkv", spoken))
    assert made is not None and before is not None and made - before == pytest.approx(-12, abs=0.7)
    silent = model(film(2.0, own * 0), spoken, tmp_path / "o2.mkv", match_loudness=True)
    assert any("nobody is heard to speak" in warning for warning in silent.warnings)


def test_a_plan_is_mixed_too(model: Lipsync, tmp_path: Path, film: Film, spoken: Path) -> None:
    """The bed lies where a speech takes the place of the film's own sound, and that is lowered where both are heard."""
    own = synth_media.tone(4.0, RATE, 1, 3000.0)[0] / 5
    video = film(4.0, own)
    plan = tmp_path / "p.csv"
    plan.write_text(f"audio,start,end,sound\n{spoken},0,2,replace\n{spoken},2,4,mix\n")
    result = model(video, out=tmp_path / "o.mkv", plan=plan, mix=music(tmp_path / "m.wav", 4.0), duck=20)
    wave = read_audio(tmp_path / "o.mkv")
    assert level(wave, 0.05, 0.1, 6000) == pytest.approx(0.1, rel=0.15) and level(wave, 0.8, 1.1, 6000) < 0.02
    assert level(wave, 2.1, 3.9, 6000) < 0.005 and level(wave, 0.1, 1.9, 3000) < 0.005
    assert level(wave, 2.8, 3.1, 3000) == pytest.approx(0.01, rel=0.3) and level(wave, 3.95, 4.0, 3000) > 0.05
    assert result.loudness is not None


def test_what_cannot_be_mixed_is_refused(model: Lipsync, tmp_path: Path, film: Film, spoken: Path) -> None:
    video = film(0.4, None)
    for changes, says in (
        ({"duck": 6}, "give --mix"),
        ({"duck": -1, "mix": "m.wav"}, "duck"),
        ({"mix": "m.wav", "keep_audio": "none"}, "no sound is written"),
        ({"mix": ""}, "give the path"),
    ):
        with pytest.raises(ConfigError, match=says):
            model(video, spoken, tmp_path / "o.mkv", **changes)
    with pytest.raises(MediaError, match="no such file"):
        model(video, spoken, tmp_path / "o.mkv", mix=tmp_path / "none.wav")
    bed = music(tmp_path / "m.mkv.wav")
    kept = bed.read_bytes()
    with pytest.raises(MediaError):
        model(video, spoken, bed, mix=bed)
    assert bed.read_bytes() == kept and not (tmp_path / "o.mkv").exists()
