"""What surrounds a run: special files, closed and full streams, odd names, others who write the same file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import micro_model
import planted
from synth_media import make_sound, tone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="special files and descriptors of Unix")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose face the shipped tracker does not find: runs end early, in one line, with the model loaded."""
    folder = tmp_path_factory.mktemp("edges")
    planted.film(folder / "talk.mp4", [planted.picture((160, 120), [(80, 60, 80)])] * 4)
    make_sound(folder / "speech.wav", tone(0.16))
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(folder / "micro")
    return folder


@pytest.mark.parametrize("kind", ["pipe", "zero", "long", "folder"])
@pytest.mark.parametrize("place", ["VIDEO", "AUDIO", "--plan", "--preset", "--model", "--adapter", "--face"])
def test_no_input_that_is_no_file_is_waited_for(run, ready: Path, tmp_path: Path, kind: str, place: str) -> None:
    path = {"zero": Path("/dev/zero"), "long": tmp_path / ("a" * 300), "folder": tmp_path}.get(kind, tmp_path / "pipe")
    if kind == "pipe":
        os.mkfifo(path)
    words: dict[str, object] = {"VIDEO": ready / "talk.mp4", "AUDIO": ready / "speech.wav", "--model": ready / "micro"}
    words[place] = path
    if place == "--plan":
        del words["AUDIO"]
    given = [word for key, value in words.items() for word in ([key, value] if key.startswith("--") else [value])]
    told = run("sync", *given, "-o", tmp_path / "out.mp4", "--offline", "-q")
    assert told.code in (1, 2) and told.said.startswith("error: ")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("command", [["inspect"], ["data", "build"], ["evaluate"]])
def test_other_commands_wait_for_no_pipe_either(run, tmp_path: Path, command: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    out = {"data": [tmp_path / "built"], "evaluate": ["-o", tmp_path / "scored"]}.get(command[0], [])
    told = run(*command, tmp_path / "pipe.mp4", *out)
    assert told.code in (1, 2) and "Traceback" not in told.err


def test_an_output_that_leads_elsewhere_is_refused(run, ready: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere" / "x.mp4")
    for name in ("pipe.mp4", "link.mp4", "a" * 300 + ".mp4"):
        files = ready / "talk.mp4", ready / "speech.wav", "-o", tmp_path / name, "-y", "--offline"
        told = run("sync", *files, "--model", "none")
        assert told.code == 1 and told.said.startswith("error: "), told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.mp4", "pipe.mp4"]


WRITES = """
import sys
from pathlib import Path
import planted, micro_model
from latentsync.pipeline import Lipsync
def from_pretrained(*_, **__):
    return micro_model.lipsync(planted.PlantedTracker())
Lipsync.from_pretrained = from_pretrained
from latentsync.cli.main import main
main(sys.argv[1:])
"""


Done = subprocess.CompletedProcess[bytes]


def synced(ready: Path, out: Path, shell: str = "", *more: str, **environment: str) -> Done:
    """A whole run in a shell of its own, with a tracker that finds the planted face."""
    words = [sys.executable, "-c", WRITES, "sync", str(ready / "talk.mp4"), str(ready / "speech.wav"), "-o", str(out)]
    command = " ".join(f"'{word}'" for word in [*words, *more])
    line, env = ["sh", "-c", f"{command} {shell}"], os.environ | environment
    return subprocess.run(line, capture_output=True, env=env, timeout=120)


@pytest.mark.parametrize("shell", [">&- 2>&- <&-", "2>/dev/full", ">/dev/full"])
def test_the_film_is_there_whatever_the_streams_are(ready: Path, tmp_path: Path, shell: str) -> None:
    if shell.endswith("/dev/full") and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = synced(ready, tmp_path / "out.mp4", shell)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr.decode()
    assert (tmp_path / "out.mp4").stat().st_size > 1000
    assert (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp"


def test_names_that_are_no_letters_of_the_terminal(ready: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xffv\xc3\xa9.mp4"
    done = synced(ready, Path(os.fsdecode(name)), "", "--json", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr.decode()
    assert Path(os.fsdecode(name)).exists()
    assert all(byte < 128 for byte in done.stdout)


def test_without_a_temporary_folder(ready: Path, tmp_path: Path) -> None:
    done = synced(ready, tmp_path / "out.mp4", "", TMPDIR="/proc/none", TEMP="/proc/none", TMP="/proc/none")
    assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_no_letter_of_a_name_controls_the_terminal(run, tmp_path: Path) -> None:
    told = run("inspect", tmp_path / "a\x1b[31m\nb.mp4")
    assert told.code == 1 and "\x1b" not in told.err and told.said
