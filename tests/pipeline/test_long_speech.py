"""A long speech for a few frames: what is needed of it is read, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whole_runs import film, pictures

from latentsync.core.values import Float
from latentsync.media import AudioReader, write_wav
from latentsync.pipeline import Lipsync


def test_an_hour_of_speech_for_ten_frames_is_not_read_whole(
    model: Lipsync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = film(tmp_path / "a.mp4", 20)
    tone = (0.3 * np.sin(np.arange(16000 * 400) * 0.1)).astype(np.float32)
    write_wav(tmp_path / "long.wav", tone)
    write_wav(tmp_path / "short.wav", tone[: 16000 * 90])
    num_read, blocks = 0, AudioReader.blocks

    def counted(self: AudioReader):  # type: ignore[no-untyped-def]
        nonlocal num_read
        block: Float
        for block in blocks(self):
            num_read += len(block)
            yield block

    monkeypatch.setattr(AudioReader, "blocks", counted)
    result = model(video, tmp_path / "long.wav", tmp_path / "o.mp4", end_s=0.4, length="video")
    assert result.num_frames == 10
    assert num_read < 16000 * 400  # of a sound that was read three times before
    assert any("speech" in warning for warning in result.warnings)
    model(video, tmp_path / "short.wav", tmp_path / "same.mp4", end_s=0.4, length="video")
    assert np.array_equal(pictures(tmp_path / "o.mp4"), pictures(tmp_path / "same.mp4"))
