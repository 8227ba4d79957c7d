"""`latentsync inspect` as people call it: the real tracker on the sample's real face, a micro model to measure with."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import av
import pytest

import micro_model
import planted

SAMPLE = Path(str(resources.files("latentsync") / "assets" / "sample" / "talk.mp4"))


def repacked(source: Path, target: Path) -> Path:
    """The same picture in another container."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize("name", ["talk.ts", "talk.m4v", "talk"])
def test_a_second_is_measured_whatever_kind_of_file_the_video_is(run, tmp_path: Path, name: str) -> None:
    """Also of kinds that are only read, not written."""
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    video = tmp_path / name
    if name == "talk.ts":
        repacked(SAMPLE, video)
    else:
        shutil.copy(SAMPLE, video)
    speech = SAMPLE.with_name("speech.wav")
    given = run("inspect", video, speech, "--samples", 2, "--measure", "--model", tmp_path / "micro", "--json", "-q")
    assert given.code == 0, given.err
    assert json.loads(given.out)["expected"]["model"] == "micro"


def test_cuts_are_told(run) -> None:
    given = run("inspect", SAMPLE, "--samples", 2, "-q")
    assert given.code == 0, given.err
    (line,) = [line for line in given.out.splitlines() if line.startswith("cuts")]
    assert line.split()[1:3] == ["0", "among"]
