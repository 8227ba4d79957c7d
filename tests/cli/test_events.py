"""`latentsync --events`: stderr is JSON lines, whatever happens."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

import micro_model
import planted
from latentsync.cli import events
from latentsync.cli.console import logging_to, stderr_console
from latentsync.cli.demo import SAMPLE, sample
from latentsync.core.progress import Progress


@pytest.fixture(autouse=True)
def off_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.SWITCH, "0")


def lines(err: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in err.splitlines()]


def test_a_run_is_events_on_stderr_and_one_object_on_stdout(run, tmp_path: Path) -> None:
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(tmp_path / "micro")
    files = sample(SAMPLE[0]), sample(SAMPLE[1]), "-o", tmp_path / "out.mp4"
    given = run(
        "--events", "sync", *files, "--model", tmp_path / "micro", "--length", "video", "--end", "0.4", "--json"
    )
    told = lines(given.err)
    assert given.code == 0 and json.loads(given.out)["num_frames"] == 10
    last = [event for event in told if event["event"] == "progress" and event["stage"] == "sync"][-1]
    assert last["done"] == last["total"] == 10 and last["unit"] == "frames" and last["left_s"] == 0


def test_a_mistake_is_one_event(run) -> None:
    given = run("--events", "sync", "gone.mp4", "gone.wav", "-o", "out.mp4")
    assert given.code == 1
    assert lines(given.err) == [{"event": "error", "text": "error: gone.mp4: no such file. Check the path."}]


def test_progress_is_thinned_out_but_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    show = events.Lines().show
    for done in range(101):
        show(Progress("sync", done, 100))
    told = [event["done"] for event in lines(capsys.readouterr().err)]
    assert told[0] == 0 and told[-1] == 100 and len(told) < 20


def test_warnings_are_events_with_their_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(events.SWITCH, "1")
    with logging_to(stderr_console(), quiet=True, verbose=False):
        logging.getLogger("latentsync.test").warning("small face")
    assert lines(capsys.readouterr().err) == [{"event": "log", "level": "warning", "text": "small face"}]
