"""`latentsync batch`: lists and folders, one bad film, a second run, and a report that does nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import serving
from latentsync.core.errors import ConfigError
from latentsync.serve.batch import read_batch
from latentsync.serve.batch_report import harmless


def batch(media: serving.Media, jobs: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "latentsync", "batch", str(jobs), "-o", str(out), "--model", str(media.model)]
    return subprocess.run([*words, "--offline", *options], capture_output=True, text=True, check=False, timeout=300)


def test_a_list_with_one_bad_film_and_a_second_run(media: serving.Media, tmp_path: Path) -> None:
    bad = tmp_path / "=cmd().mp4"
    bad.write_bytes(b"no film at all")
    jobs = tmp_path / "jobs.csv"
    lines = ["video,audio,out,seed", f"{media.film},{media.speech},a.mp4,3", f"{bad.name},{media.speech},=bad<b>.mp4,",
             f"{media.film},{media.other},c.mkv,"]  # fmt: skip
    jobs.write_text("\n".join(lines))
    out = tmp_path / "out"
    first = batch(media, jobs, out, "--json")
    assert first.returncode == 1 and "1 of 3 films failed" in first.stderr and "Traceback" not in first.stderr
    films = json.loads(first.stdout)["films"]
    assert [film["state"] for film in films] == ["done", "failed", "done"], films
    assert films[0]["sha256"] == hashlib.sha256((out / "a.mp4").read_bytes()).hexdigest()
    assert sorted(path.name for path in out.iterdir()) == [
        ".batch", "a.mp4", "c.mkv", "report", "report.csv", "report.html",
    ]  # fmt: skip
    with (out / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["out"] == "'=bad<b>.mp4" and rows[1]["reason"]
    page = (out / "report.html").read_text("utf-8")
    assert "=bad&lt;b&gt;.mp4" in page and "<b>" not in page and "thumbnail.jpg" in page
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.m*")}
    again = batch(media, jobs, out, "--json")
    assert again.returncode == 1 and json.loads(again.stdout)["films"] == films
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.m*")} == before  # nothing was made again


def test_a_folder_of_pairs_stopped_and_gone_on(media: serving.Media, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("one", "two", "one.more"):
        (folder / f"{name}.mp4").write_bytes(media.film.read_bytes())
    (folder / "one.de.wav").write_bytes(media.speech.read_bytes())
    (folder / "one.fr.wav").write_bytes(media.other.read_bytes())
    (folder / "two.wav").write_bytes(media.other.read_bytes())
    (folder / "one.more.wav").write_bytes(media.other.read_bytes())
    names = [(item.video.name, item.out) for item in read_batch(folder)]
    assert sorted(names) == [("one.more.mp4", "one.more.mp4"), ("one.mp4", "one.de.mp4"), ("one.mp4", "one.fr.mp4"),
                             ("two.mp4", "two.mp4")]  # fmt: skip
    out = tmp_path / "out"
    words = [sys.executable, "-m", "latentsync", "batch", str(folder), "-o", str(out), "--model", str(media.model)]
    with subprocess.Popen([*words, "--offline"], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("*.mp4")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")}
    assert made
    rest = batch(media, folder, out)
    assert rest.returncode == 0, rest.stderr
    assert sorted(path.name for path in out.glob("*.mp4")) == ["one.de.mp4", "one.fr.mp4", "one.more.mp4", "two.mp4"]
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made


def test_what_is_there_already_is_not_written_over(media: serving.Media, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(json.dumps({"video": str(media.film), "audio": str(media.speech), "out": "a.mp4"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_bytes(b"the user's own")
    refused = batch(media, jobs, tmp_path / "out")
    assert refused.returncode == 1 and "exists" in refused.stderr
    assert (tmp_path / "out" / "a.mp4").read_bytes() == b"the user's own"


@pytest.mark.parametrize(
    ("text", "word"),
    [("video,audio,colour\na.mp4,b.wav,red\n", "colour"),
     ("video,audio,out\na.mp4,b.wav,../x.mp4\n", "without a folder"),
     ("video,audio,out\na.mp4,b.wav,x.mp4\na.mp4,c.wav,x.mp4\n", "both write"), ("video\na.mp4\n", "audio or plan"),
     ("video,audio\n", "no row"), ("video,audio\na.mp4,b.wav,c\n", "more values")],
)  # fmt: skip
def test_lists_that_are_not_clear_are_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "jobs.csv").write_text(text)
    with pytest.raises(ConfigError, match=word):
        read_batch(tmp_path / "jobs.csv")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_cells_are_harmless(cell: str) -> None:
    assert harmless(cell) == f"'{cell}" and harmless(-1.5) == -1.5 and harmless("a=b") == "a=b"
