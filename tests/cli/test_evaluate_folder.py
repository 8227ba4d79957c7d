"""`evaluate` leaves no empty folder where nothing could be scored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import planted


def test_a_run_without_a_score_leaves_no_empty_folder(run, tmp_path: Path) -> None:
    planted.film(tmp_path / "wall.mp4", [planted.picture((160, 120), [])] * 6)
    report, kept = tmp_path / "new" / "report", tmp_path / "full"
    kept.mkdir()
    (kept / "mine.txt").write_text("keep")
    told = run("evaluate", tmp_path / "wall.mp4", "-o", report, "--keep-videos")
    assert told.code == 1
    assert "no clip could be scored" in told.err
    assert not report.exists()
    assert run("evaluate", tmp_path / "wall.mp4", "-o", kept).code == 1
    assert (kept / "mine.txt").read_text() == "keep"


def test_a_folder_that_may_not_be_written_to_is_told_before_the_clips_are_driven(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def access(path: Path, mode: int) -> bool:  # chmod does not stop a superuser
        return mode != os.W_OK or Path(path).name != "locked"

    planted.film(tmp_path / "wall.mp4", [planted.picture((160, 120), [])] * 6)
    monkeypatch.setattr("os.access", access)
    (tmp_path / "locked").mkdir()
    told = run("evaluate", tmp_path / "wall.mp4", "-o", tmp_path / "locked", "--quiet")
    assert (told.code, "report.html: the folder cannot be written to" in told.err) == (1, True)
