"""The same seed gives the same file, byte for byte, whatever the number of torch's threads."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import torch

from latentsync.pipeline import Lipsync

SAMPLE = Path(str(resources.files("latentsync") / "assets" / "sample"))


def test_one_two_and_four_threads_write_the_same_bytes(tmp_path: Path) -> None:
    lipsync = Lipsync.from_pretrained("tiny", device="cpu", offline=True)
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            out = tmp_path / f"{threads}.mp4"
            lipsync(SAMPLE / "talk.mp4", SAMPLE / "speech.wav", out, end_s=0.8, length="video")
            made.append(out.read_bytes())
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1] == made[2]


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_again_and_again(tmp_path: Path, codec: str) -> None:
    lipsync = Lipsync.from_pretrained("tiny", device="cpu", offline=True)
    made = set()
    for number in range(5):
        out = tmp_path / f"{number}.mp4"
        lipsync(SAMPLE / "talk.mp4", SAMPLE / "speech.wav", out, end_s=1, length="video", codec=codec)
        made.add(out.read_bytes())
    assert len(made) == 1
