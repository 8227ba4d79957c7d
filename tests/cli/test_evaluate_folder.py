"""`evaluate` leaves no empty folder where nothing could be scored."""

from __future__ import annotations

from pathlib import Path

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
