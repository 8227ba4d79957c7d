"""Timecode lies in the file that is written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from small_films import frames

from latentsync.core.timecode import Timecode
from latentsync.media.information import VideoInfo, probe
from latentsync.media.writer import VideoWriter

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
@pytest.mark.parametrize(("text", "fps"), [("01:02:03:04", Fraction(25)), ("01:02:03;04", NTSC)])
def test_timecode_is_written_and_read(tmp_path: Path, suffix: str, text: str, fps: Fraction) -> None:
    like = VideoInfo(width=96, height=64, fps=fps, time_base=1 / (fps * 512))
    out = tmp_path / f"out{suffix}"
    with VideoWriter(out, like, timecode=Timecode.parse(text, fps)) as writer:
        for frame in frames(5, fps):
            writer.write(frame)
    assert writer.losses == () and probe(out).timecode == text


def test_a_container_without_timecode_is_told(tmp_path: Path) -> None:
    like = VideoInfo(width=96, height=64, fps=Fraction(25))
    writer = VideoWriter(tmp_path / "out.avi", like, timecode=Timecode(0, 25))
    assert len(writer.losses) == 1 and "timecode" in writer.losses[0]
