"""Known words put in time: the forced aligner, recordings as voices, Piper's command."""

from __future__ import annotations

import stat
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="the synth-align extra is not installed")
pytest.importorskip("scipy", reason="the synth extra is not installed")

from latentsync.core.errors import ConfigError, MediaError
from latentsync.synth.config import SynthConfig
from latentsync.synth.dataset import write_wav
from latentsync.synth.speech import engines, piper
from latentsync.synth.speech.aligned import align, unknown_words, words_of
from latentsync.synth.speech.recordings import speakers
from latentsync.synth.speech.speaker import available_engines, speak

needs_espeak = pytest.mark.skipif(not engines.has_espeak(), reason="espeak-ng is not installed")
TEXTS = ("Papa bought a puppy.", "Maybe my mother paid Bob for a cup of coffee.")


@needs_espeak
def test_aligned_closures_are_where_the_sound_is_quiet() -> None:
    power = dict.fromkeys((-0.06, 0.0, 0.06), 0.0)
    for text in TEXTS:
        audio = engines.espeak(text, "gmw/en-US").audio
        phones = align(audio, text)
        assert phones[0].start_s == 0 and phones[-1].end_s == pytest.approx(len(audio) / 16000, abs=0.03)
        assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(phones))
        for p in phones:
            for shift_s in power:
                i = int((p.centre_s + shift_s) * 16000)
                power[shift_s] += float((audio[max(i - 80, 0) : i + 80] ** 2).mean()) if p.name in ("p", "b") else 0.0
    assert power[0.0] < 0.5 * min(power[-0.06], power[0.06])


@needs_espeak
def test_aligning_does_not_depend_on_what_came_before() -> None:
    said = [engines.espeak(t, "gmw/en-US") for t in TEXTS]
    first = align(said[0].audio, TEXTS[0])
    align(0.05 * said[1].audio, TEXTS[1])
    assert align(said[0].audio, TEXTS[0]) == first


def test_words_that_are_not_known_or_do_not_fit_are_refused() -> None:
    assert words_of("Don't — stop, B!") == ["don't", "stop", "b"] and unknown_words("the xqzzt") == ["xqzzt"]
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    with pytest.raises(MediaError, match="xqzzt"):
        align(noise, "the xqzzt")
    with pytest.raises(MediaError, match="no words"):
        align(noise, "42!")
    with pytest.raises(MediaError, match="fit the sound"):
        align(noise[:3000], "one two three four five six seven eight nine ten eleven twelve")


@needs_espeak
def test_recordings_become_voices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "anna").mkdir()
    for number, text in enumerate(TEXTS):
        write_wav(tmp_path / "anna" / f"{number}.wav", engines.espeak(text, "gmw/en-US").audio)
        (tmp_path / "anna" / f"{number}.txt").write_text(text)
    (tmp_path / "anna" / "odd.wav").write_bytes((tmp_path / "anna" / "0.wav").read_bytes())
    (tmp_path / "anna" / "odd.txt").write_text("Xqzzt.")
    groups = speakers(tmp_path)
    assert [[r.path.stem for r in g] for g in groups] == [["0", "1"]] and "1 recordings are left out" in caplog.text
    assert "recordings" in available_engines(tmp_path)
    a, b = (speak(np.random.default_rng(3), 2.0, True, ("recordings",), tmp_path) for _ in range(2))
    assert np.array_equal(a.audio, b.audio) and a.phones == b.phones and a.voice.startswith("recording:")
    assert len(a.audio) == 32000 and {"p", "b"} <= {p.name for p in a.phones}
    with pytest.raises(ConfigError, match="recordings"):
        SynthConfig(engines=("recordings",))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"NAME\.wav"):
        speakers(empty)


@needs_espeak
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_pipers_command_with_a_stand_in_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our side of Piper's command line: a script with piper-tts's option names that copies a finished sound."""
    write_wav(tmp_path / "said.wav", engines.espeak(TEXTS[0], "gmw/en-US").audio)
    program = tmp_path / "piper"
    program.write_text(
        f"#!{sys.executable}\n"
        "import argparse, shutil, sys\n"
        "p = argparse.ArgumentParser()\n"
        "for name in ('--model', '--output_file', '--length_scale', '--noise_scale', '--noise_w'):\n"
        "    p.add_argument(name, required=True)\n"
        "a = p.parse_args()\n"
        "assert sys.stdin.read().strip() and float(a.noise_scale) == float(a.noise_w) == 0\n"
        f"shutil.copy({str(tmp_path / 'said.wav')!r}, a.output_file)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "en_US-someone.onnx").write_bytes(b"")
    monkeypatch.setattr(piper, "_program", lambda: str(program))
    assert "piper" not in available_engines()
    monkeypatch.setenv(piper.VOICES_VARIABLE, str(tmp_path))
    assert "piper" in available_engines() and [v.name for v in piper.piper_voices()] == ["en_US-someone.onnx"]
    said = piper.piper(TEXTS[0], piper.piper_voices()[0])
    assert said.voice == "piper:en_US-someone" and [p.name for p in said.phones].count("p") == 4
    program.write_text("#!/bin/sh\necho broken voice >&2\nexit 3\n")
    with pytest.raises(MediaError, match="broken voice"):
        piper.piper(TEXTS[0], piper.piper_voices()[0])
