"""The edge: exit codes, one-line errors, and nothing heavy imported before it is needed."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from latentsync.cli.arguments import new_app
from latentsync.cli.main import COMMANDS, main
from latentsync.core.errors import ConfigError, MediaError, MissingExtraError, Stopped

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "cv2",
    "av",
    "numpy",
    "ai_edge_litert",
    "huggingface_hub",
    "rich",
    "yaml",
)


def test_help_names_every_command_and_exits_with_zero(run) -> None:
    given = run("--help")
    assert given.code == 0
    assert given.err == ""
    for name in COMMANDS:
        assert f"\n  {name} " in given.out


@pytest.mark.parametrize("group", ["models", "data"])
def test_a_groups_help_ends_no_sentence_in_the_middle(run, group: str) -> None:
    given = run(group, "--help")
    assert given.code == 0
    assert "..." not in given.out.partition("Commands:")[2]


def test_version_is_the_installed_one(run) -> None:
    assert run("--version").out == f"latentsync {version('latentsync')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sync", "--help"], ["inspect", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = (*HEAVY, "rich") if arguments[0].startswith("--") else HEAVY  # some Typers use Rich for a command's help
    code = (
        "import sys\nfrom latentsync.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as left: code = left.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


@pytest.mark.parametrize("arguments", [["models", "list"], ["models", "licences"]])
def test_looking_at_models_imports_no_networks(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom latentsync.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as left: code = left.code\n"
        "heavy = ('torch', 'diffusers', 'transformers', 'cv2', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "tiny" in done.stdout


def test_the_module_is_the_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "latentsync", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["sync"], ["sync", "a.mp4"], ["sync", "a", "b", "-o", "c", "--what"]]
)
def test_misuse_exits_with_two(run, arguments: list[str]) -> None:
    given = run(*arguments)
    assert given.code == 2
    assert "Error" in given.err
    assert "Traceback" not in given.err


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Add a command `broken` that raises what it is given."""

    def add(error: BaseException) -> None:
        module = types.ModuleType("latentsync.cli.broken")
        app = new_app()

        @app.command()
        def broken() -> None:
            raise error

        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(COMMANDS, "broken", "Breaks.")

    return add


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MediaError("a.mp4: no video stream.\nGive a video."), 1, "error: a.mp4: no video stream. Give a video."),
        (ConfigError("start_s", -1, "choose 0 or more"), 2, "error: --start -1: choose 0 or more"),
        (ConfigError("overlap_frames", 16, "choose 0 to 15"), 2, "error: --overlap 16: choose 0 to 15"),
        (ConfigError("max_frames", 3, "choose 25 or more"), 2, "error: --max-frames 3: choose 25 or more"),
        (ConfigError("task", "nope", "no such task"), 2, "error: TASK nope: no such task"),
        (MissingExtraError("train", "accelerate"), 2,
         "error: accelerate is not installed; install the extra first: pip install 'latentsync[train]'"),
        (Stopped("stopped on request; nothing was written"), 130, "stopped on request; nothing was written"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written"),
        (OSError(errno.ENOSPC, "No space left on device", "out.mp4"), 1,
         "error: out.mp4: No space left on device. Free space or choose another folder."),
        (OSError(errno.EACCES, "Permission denied", "/locked/.report.d0150526.part.json"), 1,
         f"error: {Path('/locked/report.json')}: Permission denied. Check its permissions or choose another folder."),
        (OSError("4096 requested and 96 written"), 1,
         "error: writing: 4096 requested and 96 written. Free space or choose another folder."),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line(run, broken, error: BaseException, code: int, line: str) -> None:
    broken(error)
    given = run("broken")
    assert (given.code, given.said, given.out) == (code, line, "")


def test_a_wrong_number_of_processes_names_its_option(run, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the synth extra is not installed")
    given = run("synth", tmp_path / "set", "--workers", "0")
    assert (given.code, given.said) == (2, "error: --workers 0: choose 1 or more")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seconds", "0.31"], "--seconds 0.31: choose a multiple of 0.04, one frame"),
        (["--first", "-1"], "--first -1: choose 0 to 10000000"),
        (["--clips", "0"], "--clips 0: choose 1 to 100000"),
        (["--turn", "80"], "--turn 80.0: choose 0 to 60"),
        (["--hands", "2"], "--hands 2.0: choose 0 to 1"),
        (["--face-share", "0.9", "0.2"], "--face-share 0.9 0.2: choose two rising numbers in 0.1 to 1"),
        (["--recordings", "none"], "--recordings none: there is no such folder"),
    ],
)
def test_a_setting_of_synth_is_named_as_it_was_typed(run, tmp_path: Path, options: list[str], says: str) -> None:
    pytest.importorskip("scipy", reason="the synth extra is not installed")
    given = run("synth", tmp_path / "set", *options)
    assert (given.code, given.said) == (2, f"error: {says}")


def test_a_face_model_that_is_not_there_claims_no_folder(run, tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="the synth extra is not installed")
    given = run("synth", tmp_path / "set", "--face-model", "none")
    assert (given.code, given.said[:32]) == (1, "error: none: no such face model.")
    assert not (tmp_path / "set").exists()


def test_the_folder_of_synth_is_named_as_an_argument(run, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the synth extra is not installed")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "settings.json").write_text("{}")
    given = run("synth", tmp_path / "set")
    assert given.code == 2
    assert given.said.startswith(
        f"error: OUT {tmp_path / 'set'}: it holds a set with other clips, face_share, first, format, hands"
    )
    (tmp_path / "file").touch()
    assert run("synth", tmp_path / "file").said == f"error: {tmp_path / 'file'}: is a file. Give a folder for the clips"


@pytest.mark.parametrize("error", [ConfigError("crf", 99, "choose less"), MissingExtraError("train", "accelerate")])
def test_a_users_mistake_comes_whole_from_a_worker_process(error: ConfigError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.key, again.value) == (type(error), str(error), error.key, error.value)


@pytest.mark.parametrize("error", [ValueError("shape"), OSError(errno.EBADF, "Bad file descriptor")])
def test_our_own_bugs_fly_and_ask_to_be_reported(broken, capsys, error: Exception) -> None:
    broken(error)
    with pytest.raises(type(error)) as flown:
        main(["broken"])
    assert flown.value is error
    assert "report" in capsys.readouterr().err
