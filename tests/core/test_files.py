"""Files appear whole, where nobody else's lies, and under names that systems take."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.files import atomic_path, refuse_unwritable, target_of, temporary_folder, write_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and special files of Unix")


@pytest.mark.parametrize("links", [True, False])
def test_what_came_meanwhile_stays(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out.mp4"
    with pytest.raises(MediaError, match="came to exist"), atomic_path(target, replace=False) as part:
        part.write_text("new")
        target.write_text("his")
    assert target.read_text() == "his" and list(tmp_path.iterdir()) == [target]
    with atomic_path(tmp_path / "free.mp4", replace=False, durable=True) as part:
        part.write_text("new")
    assert (tmp_path / "free.mp4").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free.mp4", "out.mp4"]


def test_a_link_that_leads_nowhere_is_in_the_way_too(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(MediaError, match="came to exist"), atomic_path(target, replace=False) as part:
        part.write_text("new")
        target.symlink_to(tmp_path / "nowhere")
    assert target.is_symlink() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "long", "loop"])
def test_what_no_file_replaces(tmp_path: Path, kind: str) -> None:
    target = tmp_path / ("a" * 300 if kind == "long" else "out.mp4")
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "device":
        target.symlink_to("/dev/null")
    elif kind == "link":
        target.symlink_to(tmp_path / "nowhere" / "x.mp4")
    elif kind == "loop":
        target.symlink_to(target)
    with pytest.raises(MediaError):
        refuse_unwritable(target)


def test_another_run_that_writes_the_same_is_noticed(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with atomic_path(target, held=True) as part:
        with pytest.raises(MediaError, match="another run is writing it"):
            refuse_unwritable(target)
        refuse_unwritable(tmp_path / "other.mp4")
        part.write_text("x")
    refuse_unwritable(target)


@pytest.mark.parametrize("stem", ["a" * 251, "口" * 83, "é" * 125])
def test_the_longest_names_are_written(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.mp4"
    with atomic_path(target, held=True) as part:
        part.write_text("x")
        with pytest.raises(MediaError, match="another run"):
            refuse_unwritable(target)
    assert target.read_text() == "x"
    assert target_of(tmp_path / ".a.01234567.part.mp4") == tmp_path / "a.mp4"


def test_names_that_are_no_utf_8_are_written_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "v" + os.fsdecode(b"\xff") + "é")
    assert (tmp_path / "a.txt").read_text("utf-8") == "v\\udcffé"


def test_no_temporary_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with pytest.raises(LatentSyncError, match="TMPDIR"), temporary_folder():
        pass
