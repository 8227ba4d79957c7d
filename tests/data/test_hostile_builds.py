"""Builds of strangers: ids are names, words are escaped, nothing outside the folders is read or written."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from latentsync.core.errors import MediaError
from latentsync.core.escaping import csv_cell, html_text
from latentsync.data.clip import Clip, Source, dumps
from latentsync.data.manifest import MANIFEST, SCORES, read_manifest, rows_of, write_manifest
from latentsync.data.report.html import write_report
from latentsync.data.settings import SplitSettings, data_settings
from latentsync.data.shards import merge_builds, write_shards
from latentsync.data.sources import Speaker, find_sources

pytest.importorskip("pyarrow", reason="the data extra is not installed")
EVIL = "<script>alert(1)</script>\"'"


def build(folder: Path, **changes: Any) -> Path:
    """A build with one kept clip; `changes` of its line."""
    clip = Clip(Source("a.mp4", str(folder / "a.mp4"), sha256="0" * 64, identity="anna"), num_frames=50, clip_id="c1")
    (row,) = rows_of([clip], [], {"anna": "train"})
    clips = folder / "clips" / "c1"
    clips.mkdir(parents=True)
    (clips / "video.mp4").write_bytes(b"video")
    (clips / "clip.json").write_text("{}")
    write_manifest(folder / MANIFEST, [row | changes], data_settings().as_dict())
    return folder


def test_an_honest_build_is_merged_packed_and_reported(tmp_path: Path) -> None:
    folder = build(tmp_path / "one")
    merge_builds(tmp_path / "all", [folder], SplitSettings())
    assert (tmp_path / "all" / "clips" / "c1" / "video.mp4").read_bytes() == b"video"
    assert write_shards(tmp_path / "all", str(tmp_path / "shards"))[0]["clips"] == 1
    assert "1 clips of 1 sources kept" in write_report(folder, tmp_path / "r.html", pictures=False).read_text()


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", "..", ".", "", "a\0b", ".hidden", "x" * 200, "a\\b", "c:x"])
def test_an_id_is_a_name(tmp_path: Path, name: str) -> None:
    folder = build(tmp_path / "in" / "deep" / "evil", clip_id=name)
    before = sorted(tmp_path.rglob("*"))
    for use in (read_manifest, lambda f: merge_builds(tmp_path / "out", [f]), lambda f: write_shards(f, str(tmp_path))):
        with pytest.raises(MediaError, match=r"manifest\.parquet: is damaged"):
            use(folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"files": '{"video.mp4": "../../../etc/passwd"}'}, {"files": '{"video.mp4": "/etc/passwd"}'}, {"files": "[1]"},
        {"files": "{"}, {"split": EVIL}, {"source": None}, {"start_exact": "1e99999999"}, {"start_exact": "x"},
        {"identity": None}, {"duration_s": None},
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match="is damaged"):
        read_manifest(build(tmp_path / "b", **changes))


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = build(tmp_path / "b")
    for table in (pyarrow.table({"a": [1]}), pyarrow.table({"clip_id": [1], "kept": ["yes"], "files": [[1]]})):
        parquet.write_table(table, folder / MANIFEST)
        with pytest.raises(MediaError, match="is damaged"):
            read_manifest(folder)
    (folder / MANIFEST).write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(MediaError, match="cannot be read"):
        read_manifest(folder)


def test_links_in_a_build_lead_nowhere(tmp_path: Path) -> None:
    folder = build(tmp_path / "b")
    (tmp_path / "secret").write_text("secret")
    (folder / "clips" / "c1" / "audio.wav").symlink_to(tmp_path / "secret")
    merge_builds(tmp_path / "all", [folder])
    assert sorted(path.name for path in (tmp_path / "all" / "clips" / "c1").iterdir()) == ["clip.json", "video.mp4"]
    write_shards(folder, str(tmp_path / "shards"))
    assert b"secret" not in next((tmp_path / "shards").glob("*.tar")).read_bytes()


def test_a_missing_clip_is_told(tmp_path: Path) -> None:
    folder = build(tmp_path / "b")
    (folder / "clips" / "c1" / "clip.json").write_text("[")
    with pytest.raises(MediaError, match=r"clip\.json: is damaged"):
        write_shards(folder, str(tmp_path / "shards"))
    for path in (folder / "clips" / "c1").iterdir():
        path.unlink()
    (folder / "clips" / "c1").rmdir()
    with pytest.raises(MediaError, match="is missing"):
        merge_builds(tmp_path / "all", [folder])


def test_words_of_a_build_are_text_in_its_page(tmp_path: Path) -> None:
    names = dict.fromkeys(("source", "identity"), EVIL)
    folder = build(tmp_path / "b", **names, detail=EVIL)
    stages = {"probe": {"steps": EVIL, "seconds": 1, "frames": 1}, "shots": {"steps": 1, "seconds": 2, "frames": 3}}
    run = {"stages": stages, "engine": EVIL, "workers": EVIL, "wall_s": EVIL, "inputs": EVIL}
    (folder / "build.json").write_text(json.dumps(run))
    page = write_report(folder, tmp_path / "r.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    for broken in ("[", "[1]", '{"stages": 3}', '{"stages": {"probe": 3}}'):
        (folder / "build.json").write_text(broken)
        assert "</html>" in write_report(folder, tmp_path / "r.html").read_text()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    written = io.StringIO()
    csv.writer(written).writerow([csv_cell(text), csv_cell(-1.5), csv_cell("Anna")])
    (row,) = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert row == ["'" + text, "-1.5", "Anna"]


def test_names_that_are_no_utf_8_are_shown_and_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"v\xff.mp4")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"x")
    (source,) = find_sources(str(tmp_path / "in"), Speaker(None))
    assert source.name == "v\\xff.mp4" and Path(source.path).read_bytes() == b"x"
    assert json.loads(dumps({"a": name})) == {"a": name} and dumps({"a": name}).encode()
    folder = build(tmp_path / "b", detail=name, identity=name)
    assert read_manifest(folder)[0][0]["detail"] == "v\\udcff.mp4"
    assert "v" in html_text(name) and html_text(name).encode()
    assert set(SCORES)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.jsonl"])
@pytest.mark.parametrize("text", ["\xff\xfe", "[" * 5000, "\0", '"a', "3"])
def test_lists_that_are_none_are_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    try:
        found = find_sources(str(tmp_path / name), Speaker(None))
        assert name == "list.txt" and found
    except MediaError as error:
        assert "\n" not in str(error)
