"""`latentsync sync` on what people really pass: one line, an exit code, nothing written, nothing of theirs touched."""

from __future__ import annotations

import pickle
import wave
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import micro_model
import planted
from synth_media import make_film, make_sound, tone, truncate, vary


class Evil:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_film(tmp_path / "talk.mp4", 10)
    make_sound(tmp_path / "speech.wav", tone(0.4))
    (tmp_path / "text.mp4").write_text("this is not a film\n" * 50)
    truncate(make_film(tmp_path / "cut.mp4", 20), 0.3)
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"state_dict": Evil(tmp_path / "pwned")}))
    save_file({"conv_in.weight": torch.zeros(8, 13, 3, 3)}, tmp_path / "other.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.mp4", "speech.wav"], "none.mp4"),
        (["text.mp4", "speech.wav"], "text.mp4"),
        (["cut.mp4", "speech.wav"], "cut.mp4"),
        (["talk.mp4", "empty.wav"], "empty.wav"),
        (["talk.mp4", "talk.mp4"], "no sound"),
        (["speech.wav", "speech.wav"], "no picture"),
        (["talk.mp4", "speech.wav"], "no face to edit in any of its 10 frames"),
        (["talk.mp4", "speech.wav", "--model", "none"], "no such model"),
        (["talk.mp4", "speech.wav", "--model", "evil.pt", "--resolution", "256"], "evil.pt"),
        (["talk.mp4", "speech.wav", "--model", "other.safetensors", "--resolution", "256"], "other.safetensors"),
        (["talk.mp4", "speech.wav", "--device", "abacus"], "--device abacus"),
        (["talk.mp4", "speech.wav", "--codec", "none"], "none"),
        (["talk.mp4", "speech.wav", "--strip", "strip.jpg"], "it is a PNG picture"),
        (["talk.mp4", "speech.wav", "--start", "100"], "talk.mp4: it ends at 0.4 s. Choose a --start"),
    ],
)
def test_one_line_says_what_is_wrong(
    run, folder: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    files = [str(folder / w) if (folder / w).is_file() or w.endswith(".mp4") else w for w in words]
    model = [] if "--model" in words else ["--model", folder / "micro"]
    given = run("sync", *files, "-o", folder / "out.mp4", "--offline", *model)
    assert given.code in (1, 2), given.err
    *notes, error = given.err.splitlines()
    assert error.startswith("error: "), given.err
    assert says in error
    assert not any(line.startswith(("error", "Traceback", " ")) for line in notes)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not (folder / "pwned").exists()


def test_a_kind_of_file_that_cannot_be_written_is_told_before_the_model_is_looked_for(run, folder: Path) -> None:
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", "-o", folder / "out.gif", "--model", "none")
    assert given.code == 1
    assert "out.gif: unknown kind of file '.gif'. Use one of .mp4" in given.err.replace("'.mp4'", ".mp4")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--crf", "52"], "--crf 52.0: choose 0 to 51 for libx264"),
        (["--codec", "prores"], "--codec prores: choose one of h264, hevc, av1, vp9 for .mp4 files"),
        (["--pixel-format", "rgb3"], "--pixel-format rgb3: libx264 takes yuv420p"),
    ],
)
def test_an_encoding_that_does_not_fit_is_told_before_the_model_is_looked_for(
    run, folder: Path, options: list[str], says: str
) -> None:
    files = folder / "talk.mp4", folder / "speech.wav", "-o", folder / "out.mp4"
    given = run("sync", *files, "--model", "none", *options)
    assert given.code == 2
    assert given.said.startswith(f"error: {says}")
    assert not (folder / "out.mp4").exists()


def test_a_preset_is_named_for_what_stands_in_it(run, folder: Path) -> None:
    (folder / "own.yaml").write_text("codec: prores\nface: lefft\n", "utf-8")
    files = folder / "talk.mp4", folder / "speech.wav", "-o", folder / "out.mp4"
    given = run("sync", *files, "--model", "none", "--preset", folder / "own.yaml")
    assert given.code == 2
    assert given.said.startswith(f"error: --preset {folder / 'own.yaml'}: codec prores: choose one of h264")
    given = run("sync", *files, "--model", "none", "--preset", folder / "own.yaml", "--codec", "h264")
    assert given.said.startswith(f"error: --preset {folder / 'own.yaml'}: face lefft: choose largest")
    given = run("sync", *files, "--model", "none", "--preset", folder / "own.yaml", "--codec", "hevc", "--face", "up")
    assert given.said.startswith("error: --face up: choose largest")


@pytest.mark.parametrize("options", [[], ["--start", "0.5", "--end", "1"]])
def test_a_variable_rate_into_avi_is_told_before_the_model_is_looked_for(run, folder: Path, options: list[str]) -> None:
    make_film(folder / "call.mp4", times_s=vary(40), time_base=Fraction(1, 600))
    files = folder / "call.mp4", folder / "speech.wav", "-o", folder / "out.avi"
    given = run("sync", *files, "--model", "none", *options)
    assert given.code == 1
    assert given.said == f"error: {folder / 'out.avi'}: .avi cannot hold a variable frame rate. Write .mp4 or .mkv."


@pytest.mark.parametrize("which", ["--out", "--strip", "--report"])
def test_a_folder_that_may_not_be_written_to_is_told_before_the_model_is_looked_for(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    def access(path: Path, mode: int) -> bool:  # chmod does not stop a superuser
        return Path(path).name != "locked"

    monkeypatch.setattr("os.access", access)
    (folder / "locked").mkdir()
    target = folder / "locked" / "made.mp4"
    words = ["--out", target] if which == "--out" else ["--out", folder / "out.mp4", which, target]
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", *words, "--model", "none")
    assert given.code == 1
    assert given.said == f"error: {target}: the folder cannot be written to. Choose another place."


@pytest.mark.parametrize(
    "beside", [["--strip", "out.mp4"], ["--report", "out.mp4"], ["--strip", "a.png", "--report", "./a.png"]]
)
def test_no_two_outputs_have_one_name(run, folder: Path, beside: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    given = run("sync", "talk.mp4", "speech.wav", "-o", "out.mp4", "--model", "none", *beside)
    assert given.code == 2
    assert "another output has this name" in given.err


@pytest.mark.parametrize(("option", "name", "wanted"), [("--strip", "s.jpg", ".png"), ("--report", "r.txt", ".html")])
def test_what_is_written_beside_has_its_own_ending(run, folder: Path, option: str, name: str, wanted: str) -> None:
    words = ["-o", folder / "out.mp4", "--model", "none", option, folder / name]
    given = run("sync", folder / "talk.mp4", folder / "speech.wav", *words)
    assert given.code == 2
    assert f"ends in {wanted}" in given.err
    assert not (folder / name).exists()
