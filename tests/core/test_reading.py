"""Small files of others: bounded, regular, UTF-8; whatever they hold, one error and soon."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.reading import parse_json, printable, read_json, read_text, require_file

unix = pytest.mark.skipif(sys.platform == "win32", reason="special files of Unix")


@unix
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "loop", "long", "null", "none"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"pipe": "is a pipe", "device": "is a device", "socket": "is a socket", "folder": "is a folder",
             "none": "no such file"}  # fmt: skip
    path, says = tmp_path / "it", words.get(kind, "cannot be opened")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # addresses of sockets are short
        socket.socket(socket.AF_UNIX).bind("it")
    elif kind in ("long", "null"):
        path = tmp_path / ("a" * 300 if kind == "long" else "a\0b")
    with pytest.raises(MediaError, match=says) as given:
        read_text(path)
    assert "\n" not in str(given.value) and "\0" not in str(given.value) and len(str(given.value)) < 400


def test_a_regular_file_is_let_through_and_read_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfh\xc3\xa9")
    (tmp_path / "link").symlink_to("a")
    require_file(tmp_path / "link")
    assert read_text(tmp_path / "link") == "hé"


def test_what_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 34)  # sparse: reading it whole would need 16 GB
    with pytest.raises(MediaError, match="longer than 1 MiB"):
        read_text(tmp_path / "big")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(MediaError, match="not UTF-8"):
        read_text(tmp_path / "latin")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 60 + "]" * 60, '{"a": NaN}', "[Infinity]", "1" * 5000, "", "[1,]", '{"a":' * 900]
)
def test_json_that_no_file_of_ours_holds_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_of_a_usual_depth_is_read() -> None:
    assert parse_json('{"a": [[1, {"b": null}]]}') == {"a": [[1, {"b": None}]]}


def test_names_are_shown_so_that_any_output_takes_them() -> None:
    assert printable(os.fsdecode(b"v\xff.mp4")) == "v\\xff.mp4"
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert printable("né 口.mp4") == "né 口.mp4"


def test_an_error_repeats_no_endless_value() -> None:
    assert len(str(ConfigError("steps", "x" * 10**6, "choose less"))) < 400
    assert "too long to show" in str(ConfigError("steps", 10**5000, "choose less"))
