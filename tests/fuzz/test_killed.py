"""A run that is killed at any moment: OUT is whole or not there, inputs are as they were, and the next run gives the
same film, with the cache that the killed one left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import planted
import synth_media
from latentsync.media import VideoReader

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")

READY = """
import sys
import micro_model, planted
from latentsync.pipeline import Lipsync
class Tracker(planted.PlantedTracker):
    identity = "planted 1"
Lipsync.from_pretrained = lambda *_, **__: micro_model.lipsync(Tracker())
from latentsync.cli.main import main
import latentsync.pipeline.preflight, latentsync.cli.sync, latentsync.media
print("ready", flush=True)
main(sys.argv[1:])
"""
NUM_FRAMES = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    rng = np.random.default_rng(0)
    frames = [planted.picture((160, 120), [(80 + k % 5, 60, 80)]) for k in range(NUM_FRAMES)]
    planted.film(folder / "talk.mp4", frames)
    synth_media.make_sound(folder / "speech.wav", synth_media.tone(NUM_FRAMES / 25) * rng.uniform(0.5, 1))
    return folder


def started(files: Path, target: Path) -> subprocess.Popen[bytes]:
    words = ["sync", files / "talk.mp4", files / "speech.wav", "-o", target / "out.mp4", "--cache", target / "cache"]
    command = [sys.executable, "-c", READY, *map(str, words), "-q"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def pictures(path: Path) -> str:
    with VideoReader(path) as reader:
        digest = hashlib.sha256()
        for frame in reader:
            digest.update(frame.picture.rgb().tobytes())
        assert reader.info.num_frames == NUM_FRAMES
    return digest.hexdigest()


def killed(files: Path, tmp_path: Path, moments: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    before = contents(files)
    began = 0.0
    with started(files, whole) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        assert process.wait(120) == 0, process.stderr and process.stderr.read().decode()
    length_s, wanted = time.monotonic() - began, pictures(whole / "out.mp4")
    target = tmp_path / "target"
    target.mkdir()
    for moment in range(moments):
        with started(files, target) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(length_s * moment / moments)
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        assert contents(files) == before
        if (target / "out.mp4").exists():
            assert pictures(target / "out.mp4") == wanted
            (target / "out.mp4").unlink()
    with started(files, target) as process:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    assert pictures(target / "out.mp4") == wanted
    assert contents(files) == before
    assert [path.name for path in target.iterdir() if ".part" in path.name] == []
    finished = [path for path in (target / "cache" / "chunks").glob("*.crops") if ".part." not in path.name]
    assert finished == []  # parts of killed runs are swept once they are six hours old, see `core.files.sweep_parts`


def test_killed_at_a_few_moments(files: Path, tmp_path: Path) -> None:
    killed(files, tmp_path, 3)


@pytest.mark.slow
def test_killed_at_many_moments(files: Path, tmp_path: Path) -> None:
    killed(files, tmp_path, 60)
