"""`latentsync demo`: the sample without a word, and files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import micro_model
import planted
from latentsync.cli.demo import SAMPLE, sample


def test_the_sample_is_lip_synced_again_and_again(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        given = run("demo", "--model", tmp_path / "micro")
        assert given.code == 0, given.err
        assert "frames/s" in given.out and "peak memory" in given.out
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"talk-speech.mp4", "talk-speech-strip.png"}


def test_a_named_file_is_not_replaced(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "my result.mp4"
    out.write_bytes(b"mine")
    given = run("demo", sample(SAMPLE[0]), sample(SAMPLE[1]), "--out", out)
    assert given.code == 1 and "exists" in given.err
    assert out.read_bytes() == b"mine" and not (tmp_path / "outputs").exists()
