"""`latentsync sync`: what is refused before any model is loaded, and what is written beside the result."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import micro_model
import planted
from latentsync.media import RgbPicture, VideoReader, VideoWriter, read_audio, write_wav
from latentsync.metrics import strips

VIDEO, AUDIO = b"not looked at", b"not looked at either"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "talk.mp4").write_bytes(VIDEO)
    (tmp_path / "speech.wav").write_bytes(AUDIO)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--length", "longer"], "--length longer: choose one of audio, video, loop, ping_pong, hold"),
        (["--silence", "quiet"], "--silence quiet: choose one of model, original, closed"),
        (["--steps", "0"], "--steps 0: choose 1 to 1000"),
        (["--guidance", "0.5"], "--guidance 0.5: choose 1.0 to 20.0"),
        (["--overlap", "16"], "--overlap 16: choose 0 to 15"),
        (["--block-cache", "0"], "--block-cache 0: choose 1 to 100"),
        (["--start", "soon"], "--start soon: write seconds"),
        (["--start", "5", "--end", "4"], "--end 4.0: choose an end after the start"),
        (["--preset", "fastest"], "--preset fastest: choose balanced, best, draft"),
    ],
)
def test_a_wrong_setting_is_misuse_and_says_the_fix(run, folder: Path, options: list[str], says: str) -> None:
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", "-o", folder / "out.mp4", *options)
    assert given.code == 2
    assert given.said.startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("video", "audio", "out", "says"),
    [
        ("none.mp4", "speech.wav", "out.mp4", "none.mp4: no such file"),
        ("talk.mp4", "none.wav", "out.mp4", "none.wav: no such file"),
        (".", "speech.wav", "out.mp4", ": is a folder. Give a file"),
        ("talk.mp4", "speech.wav", ".", ": is a folder. Give the name"),
        ("talk.mp4", "speech.wav", "no folder/out.mp4", "no folder: no such folder"),
        ("talk.mp4", "speech.wav", "speech.wav/out.mp4", "speech.wav: no such folder"),
        ("talk.mp4", "speech.wav", "talk.mp4", "talk.mp4: is also an input"),
        ("talk.mp4", "speech.wav", "./speech.wav", "speech.wav: is also an input"),
    ],
)
def test_wrong_files_fail_in_one_line_and_touch_nothing(
    run, folder: Path, video: str, audio: str, out: str, says: str
) -> None:
    given = run("sync", folder / video, folder / audio, "-o", f"{folder}/{out}", "--overwrite")
    assert given.code == 1
    assert says in given.said
    assert given.out == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"talk.mp4": VIDEO, "speech.wav": AUDIO}


def test_a_link_to_an_input_is_the_input(run, folder: Path) -> None:
    (folder / "link.mp4").symlink_to(folder / "talk.mp4")
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", "-o", folder / "link.mp4", "--overwrite")
    assert given.code == 1
    assert "is also an input" in given.said
    assert (folder / "talk.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("output", "name", "options"),
    [
        ("--strip", "anna.png", ["--face", "anna.png"]),
        ("--strip", "anna.png", ["--plan", "plan.json"]),
        ("--report", "mine.yaml", ["--preset", "mine.yaml"]),
        ("--out", "adapter.safetensors", ["--adapter", "adapter.safetensors"]),
        ("--out", "unet.pt", ["--model", "unet.pt"]),
    ],
)
def test_no_file_that_an_option_names_is_written_over(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, name: str, options: list[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / name).write_text("seed: 3\n")
    (folder / "plan.json").write_text(json.dumps([{"audio": "speech.wav", "face": "anna.png"}]))
    planted.film(folder / "talk.mp4", [planted.picture((160, 120), [])])
    files = ["talk.mp4", *([] if "--plan" in options else ["speech.wav"]), "-o", "out.mp4"]
    given = run("sync", *files, output, name, *options, "--overwrite")
    assert (given.code, given.said) == (1, f"error: {name}: is also an input. Choose another name for the output.")
    assert (folder / name).read_text() == "seed: 3\n"


@pytest.mark.parametrize("which", ["--out", "--strip", "--report"])
def test_nothing_is_replaced_unasked(run, folder: Path, which: str) -> None:
    (folder / "mine").write_text("keep")
    targets = {
        "--out": folder / "out.mp4",
        "--strip": folder / "strip.png",
        "--report": folder / "p.html",
        which: folder / "mine",
    }
    words = [str(word) for pair in targets.items() for word in pair]
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", *words)
    assert given.code == 1
    assert "mine: exists. Choose another name, or pass --overwrite." in given.said
    assert (folder / "mine").read_text() == "keep"


def test_a_report_is_written_beside_the_result(run, tmp_path: Path) -> None:
    """The sample's real face, found by the real tracker, and a micro model: the page has scores and pictures."""
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    sample = Path(str(resources.files("latentsync") / "assets" / "sample"))
    out, page = tmp_path / "out.mp4", tmp_path / "page ü.html"
    files = sample / "talk.mp4", sample / "speech.wav", "-o", out
    options = "--model", tmp_path / "micro", "--length", "video", "--end", "0.4", "--report", page, "--json", "--quiet"
    given = run("sync", *files, *options)
    assert given.code == 0, given.err
    assert json.loads(given.out)["report_path"] == str(page)
    text = page.read_text("utf-8")
    assert "<svg" in text and "data:image/jpeg" in text and "of the detail it had" in text and "micro" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["micro", "out.mp4", "page ü.html"]


def test_a_report_scores_the_part_that_was_used_once(run, tmp_path: Path) -> None:
    """The part is 0.4 s long and runs on backwards for a speech of 0.8 s."""
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    sample = Path(str(resources.files("latentsync") / "assets" / "sample"))
    write_wav(tmp_path / "short.wav", read_audio(sample / "speech.wav")[: round(0.8 * 16000)])
    files = sample / "talk.mp4", tmp_path / "short.wav", "-o", tmp_path / "out.mp4"
    options = "--start", "0.2", "--end", "0.6", "--model", tmp_path / "micro", "--report", tmp_path / "page.html"
    given = run("sync", *files, *options, "--json", "--quiet")
    assert given.code == 0, given.err
    assert json.loads(given.out)["num_frames"] == 20
    assert "the first 0.40 s of the result, beside 0.20 to 0.60 s of the video" in (tmp_path / "page.html").read_text()


def test_a_strip_that_cannot_be_drawn_takes_nothing_else_away(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The face comes after the part that a strip shows."""
    monkeypatch.setattr(strips, "LONGEST_S", Fraction(1, 5))
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    sample = Path(str(resources.files("latentsync") / "assets" / "sample"))
    video, out, strip, page = (tmp_path / name for name in ("late.mp4", "out.mp4", "s.png", "page.html"))
    with VideoReader(sample / "talk.mp4", end_s=Fraction(1)) as reader, VideoWriter(video, reader.info) as writer:
        for frame in reader:
            nobody = RgbPicture(np.full((frame.picture.height, frame.picture.width, 3), 99, np.uint8))
            writer.write(frame if frame.index >= 8 else replace(frame, picture=nobody))
    files = video, sample / "speech.wav", "-o", out, "--length", "video", "--model", tmp_path / "micro"
    given = run("sync", *files, "--strip", strip, "--report", page, "--json", "--quiet")
    assert given.code == 1
    assert given.said.startswith("error: strip not made: ") and "no face in the first 0.2 s" in given.said
    answer = json.loads(given.out)
    assert (answer["num_edited"], answer["strip_path"], answer["report_path"]) == (17, None, str(page))
    assert out.exists() and page.exists() and not strip.exists()
