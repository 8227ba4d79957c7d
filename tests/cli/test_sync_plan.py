"""`latentsync sync --plan`: refused before a model is loaded where it cannot be, and done where it can."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import micro_model
import planted
from latentsync.media import write_wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    planted.film(tmp_path / "talk.mp4", [planted.picture((64, 48), [])] * 5)
    write_wav(tmp_path / "anna.wav", np.zeros(3200, np.float32))
    (tmp_path / "plan.yaml").write_text("- {audio: anna.wav, face: left}\n")
    return tmp_path


def test_either_a_speech_or_a_plan(run, folder: Path) -> None:
    for words in ([], [folder / "anna.wav", "--plan", folder / "plan.yaml"]):
        given = run("sync", folder / "talk.mp4", *words, "-o", folder / "out.mp4")
        assert given.code == 2
        assert "give either AUDIO or a plan" in " ".join(given.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "options", "code", "says"),
    [
        ("- {audio: ben.wav}", (), 1, "ben.wav: no such file"),
        ("- {audio: anna.wav, until: 3}", (), 2, "entry 1: until 3: unknown setting; choose one of audio, face"),
        ("- {audio: anna.wav}", ("--report", "page.html"), 2, "leave it out: the page scores one speech"),
        ("- {audio: anna.wav}", ("--length", "audio"), 2, "--length audio: leave it out: with a plan the result is"),
        ("- {audio: anna.wav}", ("--length", "loop", "--model", "none"), 2, "--length loop: leave it out"),
        ("- {audio: anna.wav}", ("--preset", "PRESET", "--model", "none"), 2, "own.yaml: length audio: leave it out"),
        ("- {audio: anna.wav, face: lefft}", ("--model", "none"), 2,
         "plan.yaml: anna.wav from 0 s to the end: face lefft: choose largest, left"),
        ("[{audio: anna.wav, end: 1}, {audio: anna.wav}]", (), 2, "this face cannot say two things at once"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_one_line(
    run,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    options: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    (folder / "plan.yaml").write_text(text)
    (preset := tmp_path_factory.mktemp("preset") / "own.yaml").write_text("length: audio\n")
    words = [preset if word == "PRESET" else word for word in options]
    given = run("sync", folder / "talk.mp4", "--plan", folder / "plan.yaml", "-o", folder / "out.mp4", *words)
    assert given.code == code
    assert says in given.said
    assert sorted(path.name for path in folder.iterdir()) == ["anna.wav", "plan.yaml", "talk.mp4"]


@pytest.mark.parametrize("name", ["anna.wav", "plan.yaml"])
def test_what_the_plan_names_is_never_replaced(run, folder: Path, name: str) -> None:
    before = (folder / name).read_bytes()
    words = "--plan", folder / "plan.yaml", "-o", folder / name, "--overwrite"
    given = run("sync", folder / "talk.mp4", *words)
    assert given.code == 1
    assert f"{name}: is also an input" in given.said
    assert (folder / name).read_bytes() == before


def test_a_plan_on_the_sample(run, tmp_path: Path) -> None:
    """The sample's real face, found by the real tracker, and a micro model."""
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    sample = Path(str(resources.files("latentsync") / "assets" / "sample"))
    entry = {"audio": str(sample / "speech.wav"), "face": "0,0,1,1", "start": 0.12, "end": 0.24}
    (tmp_path / "plan ü.json").write_text(json.dumps({"entries": [entry]}))
    strip = tmp_path / "strip.png"
    files = sample / "talk.mp4", "--plan", tmp_path / "plan ü.json", "-o", tmp_path / "out.mp4"
    given = run("sync", *files, "--model", tmp_path / "micro", "--end", "0.4", "--strip", strip, "--json", "--quiet")
    assert given.code == 0, given.err
    answer = json.loads(given.out)
    assert answer["strip_path"] == str(strip)
    assert strip.read_bytes()[:4] == b"\x89PNG"  # what is on it: tests/metrics/test_strips.py
    assert (answer["num_frames"], answer["num_edited"], answer["num_without_face"]) == (10, 3, 0)
    assert any("longer than its range" in text for text in answer["warnings"])


def test_evaluate_knows_the_ways_of_silence(run, tmp_path: Path) -> None:
    given = run("evaluate", tmp_path, "-o", tmp_path / "o", "--silence", "quiet")
    assert given.code == 2
    assert given.said.startswith("error: --silence quiet: choose one of model, original, closed")
