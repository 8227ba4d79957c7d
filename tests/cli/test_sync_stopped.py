"""`latentsync sync` stopped by real signals: exit code 130, one line, and no half file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import micro_model
import planted
from latentsync.media import read_audio, write_wav

SAMPLE = Path(str(resources.files("latentsync") / "assets" / "sample"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGINT],
        pytest.param([signal.SIGINT, signal.SIGINT], marks=pytest.mark.slow),
        pytest.param([signal.SIGTERM], marks=pytest.mark.slow),
        [getattr(signal, "SIGHUP", signal.SIGTERM)],
    ],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP"],
)
def test_stopped_in_the_middle_nothing_is_left(tmp_path: Path, signals: list[signal.Signals]) -> None:
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    target = tmp_path / "out"
    target.mkdir()
    (target / "out.mp4").write_bytes(b"the user's earlier result")
    write_wav(tmp_path / "long.wav", np.tile(read_audio(SAMPLE / "speech.wav"), 10))  # a minute
    words = ["sync", SAMPLE / "talk.mp4", tmp_path / "long.wav", "-o", target / "out.mp4", "--overwrite"]
    command = [sys.executable, "-m", "latentsync", *map(str, words), "--model", str(tmp_path / "micro")]
    # the speech is so long that the run cannot end before the signal
    command += ["--length", "loop", "--codec", "hevc", "--offline"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        try:
            deadline = time.monotonic() + 300
            while not (
                parts := [path for path in target.iterdir() if ".part" in path.name and path.stat().st_size > 0]
            ):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            for number in signals:
                process.send_signal(number)
                time.sleep(0.05)
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert parts and process.returncode == 130, err.decode()
    assert out == b"" and b"Traceback" not in err
    assert b"nothing was written" in err
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"out.mp4": b"the user's earlier result"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
def test_stopped_at_its_report_the_result_is_told(tmp_path: Path) -> None:
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    out, page = tmp_path / "out.mp4", tmp_path / "page.html"
    words = ["sync", SAMPLE / "talk.mp4", SAMPLE / "speech.wav", "-o", out, "--report", page, "--offline", "--quiet"]
    command = [sys.executable, "-m", "latentsync", *map(str, words), "--model", str(tmp_path / "micro")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        try:
            deadline = time.monotonic() + 300
            while not out.exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.5)  # the call returns
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):  # it came before the report was begun
                process.wait(3)
            process.send_signal(signal.SIGINT)
            given, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130, err.decode()
    assert given == b"" and b"Traceback" not in err
    assert f"stopped; {out} is written, without its report" in err.decode()
    assert not page.exists()
