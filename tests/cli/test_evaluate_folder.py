"""`evaluate` leaves no empty folder where nothing could be scored."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

import latentsync
import planted


def test_a_run_without_a_score_leaves_no_empty_folder(run, tmp_path: Path) -> None:
    planted.film(tmp_path / "wall.mp4", [planted.picture((160, 120), [])] * 6)
    report, kept = tmp_path / "new" / "report", tmp_path / "full"
    kept.mkdir()
    (kept / "mine.txt").write_text("keep")
    given = run("evaluate", tmp_path / "wall.mp4", "-o", report, "--keep-videos")
    assert given.code == 1
    assert "no clip could be scored" in given.err
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
    given = run("evaluate", tmp_path / "wall.mp4", "-o", tmp_path / "locked", "--quiet")
    assert (given.code, "report.html: the folder cannot be written to" in given.err) == (1, True)


def test_other_videos_alone_are_scored_and_the_page_says_what_is_missing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    sample = Path(latentsync.__file__).parent / "assets" / "sample" / "talk.mp4"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(sample, theirs / "talk.mp4")
    words = ["evaluate", sample, "--model", "none", "--results", f"theirs={theirs}", "--max-frames", "40", "--latex"]
    given = run(*words, "-o", tmp_path / "report", "--json")
    assert given.code == 0, given.err
    answer = json.loads(given.out)
    assert answer["methods"] == ["theirs"] and list(answer["tables"]) == ["paired"]
    assert answer["tables"]["paired"]["ssim_face"]["theirs"]["mean"] == 1
    assert answer["missing"]["LSE-C"] == "syncnet_v2.model is not here: latentsync models fetch syncnet-v2"
    page = (tmp_path / "report" / "report.html").read_text()
    assert "FVD: –, because i3d_torchscript.pt is not here" in page
    assert r"theirs & 1.000" in (tmp_path / "report" / "summary.tex").read_text()
    lines = list(csv.DictReader((tmp_path / "report" / "summary.csv").open()))
    assert [line["method"] for line in lines] == ["theirs", "untouched", "frozen mouth"]
    told = run(*words, "--results", f"other={theirs}", "--blind", "-o", tmp_path / "two")
    assert told.code == 0, told.err
    assert len(list((tmp_path / "two" / "blind").iterdir())) == 2
    assert "Which one?" in (tmp_path / "two" / "blind.html").read_text()
    told = run(*words, "--blind", "-o", tmp_path / "one")
    assert (told.code, "it compares two methods" in told.err) == (2, True)
    shutil.rmtree(theirs)
    given = run(*words, "-o", tmp_path / "second")
    assert (given.code, "no such folder" in given.err) == (1, True)
    given = run("evaluate", sample, "--model", "none", "-o", tmp_path / "third")
    assert (given.code, "--results NAME=FOLDER" in given.err) == (2, True)
