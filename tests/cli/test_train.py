"""`latentsync train`: smoke runs, the result, and bad input before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clip").write_text("x")
    return tmp_path / "data"


def preset(tmp_path: Path, score: float) -> Path:
    path = tmp_path / "preset.yaml"
    path.write_text(
        "loop: {steps: 5000, learning_rate: 1e-2, ema: 0.9, tensorboard: false}\n"
        f"task: {{width: 8}}\nsmoke: {{steps: 60, score: {score}}}\n"
    )
    return path


def test_a_smoke_run_that_learns_passes(run: Any, tmp_path: Path, data: Path) -> None:
    args = ["train", "training.toy_task", "--data", data, "--preset", preset(tmp_path, 1.0), "--out", tmp_path / "run"]
    given = run(*args, "--smoke", "--json", "--quiet")
    assert given.code == 0, given.err
    result = json.loads(given.out)
    assert (result["step"], result["wanted_score"], result["reason"]) == (60, 1.0, "finished")
    assert result["score"] <= 1.0
    again = run(*args, "--smoke", "--json", "--quiet")  # a smoke run always starts anew
    assert json.loads(again.out)["score"] == result["score"]
    began = [json.loads(line) for line in (tmp_path / "run" / "smoke" / "log.jsonl").read_text().splitlines()]
    assert [row["from"] for row in began if row["event"] == "began"] == [None]


def test_a_smoke_run_that_does_not_learn_fails_with_what_was_measured(run: Any, tmp_path: Path, data: Path) -> None:
    given = run(
        "train", "training.toy_task", "--data", data, "--preset", preset(tmp_path, 0.001), "--out", tmp_path / "run",
        "--set", "loop.learning_rate=1e-6", "--smoke", "--quiet",
    )  # fmt: skip
    assert given.code == 1
    last = given.err.splitlines()[-1]
    assert last.startswith("error: smoke run: val/error is 1.")
    assert "after 60 steps, at most 0.001 is wanted" in last


def test_it_tells_how_it_goes(run: Any, tmp_path: Path, data: Path) -> None:
    given = run(
        "train", "training.toy_task", "--data", data, "--out", tmp_path / "run", "--set", "loop.steps=40",
        "--set", "loop.batch_size=4", "--set", "loop.tensorboard=false", "--workers", "1",
    )  # fmt: skip
    assert given.code == 0, given.err
    assert "M parameters on cpu" in given.err
    assert "step 20 ·" in given.err
    assert "warning: step 40: the error is large; train longer" in given.err
    assert given.out.startswith("40 steps in ")


@pytest.mark.parametrize(
    ("changes", "said", "code"),
    [
        (["--set", "loop.stps=3"], "--set loop.stps=3: unknown setting; did you mean steps?", 2),
        (["--set", "lop.steps=3"], "--set lop.steps=3: unknown section; did you mean loop?", 2),
        (["--set", "loop.steps=few"], "--set loop.steps=few: expected int", 2),
        (["--set", "loop.steps"], "--set loop.steps: write SECTION.KEY=VALUE, as in loop.steps=100", 2),
        ([], "--set loop.steps: give loop.steps or loop.minutes (--minutes)", 2),
        (["--preset", "nothing"], "--preset nothing: no such preset of unet", 2),
        (
            ["--minutes", "5", "--set", "loop.steps=40"],
            "--minutes 5.0: --set loop.steps says the length already; give one of the two",
            2,
        ),
        (["--minutes", "-1"], "--set loop.minutes=-1.0: choose a number above 0", 2),
        (["--minutes", "1", "--data", "nowhere"], "nowhere: no such folder. Check --data.", 1),
        (["--minutes", "1", "--data", "empty"], "empty: is empty. Give --data a folder of prepared clips.", 1),
        (["--minutes", "1", "--start", "nowhere"], "nowhere: no such component", 1),
        (["--minutes", "1", "--smoke", "--preset", "bare.yaml"], "--smoke bare.yaml: this preset has no `smoke:`", 2),
        (["--minutes", "1", "--out", "data/clip"], "data/clip: cannot be written to", 1),
    ],
)
def test_bad_input_is_refused_before_any_work(
    run: Any, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], said: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare.yaml").write_text("loop: {steps: 3}\n")
    (tmp_path / "none.yaml").write_text("")
    base = [] if "--preset" in changes else ["--preset", "none.yaml"]
    given = run("train", "unet", "--data", data, *base, *changes)
    assert given.code == code
    assert given.said.startswith(f"error: {said}"), given.said
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_task_is_refused(run: Any, data: Path) -> None:
    given = run("train", "unt", "--data", data)
    assert given.code == 2
    assert given.said == "error: TASK unt: no such task; did you mean unet?"


def test_its_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom latentsync.cli.main import main\ntry:\n    main(['train', '--help'])\n"
        "except SystemExit:\n    pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
