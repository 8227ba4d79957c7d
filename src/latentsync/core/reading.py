"""Small files of others, read within bounds: regular files only, UTF-8, of a sensible size and nesting."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from latentsync.core.errors import MediaError

SETTINGS_BYTES = 1 << 20
"""Most that a preset, a plan or another file of settings written by hand has."""
LIST_BYTES = 1 << 28
"""Most that a list of sources or the facts of a build have."""
DEEPEST = 50
"""Most levels of lists and mappings in each other; ours have three."""


def name_refused(path: Path) -> str | None:
    """Why the system does not take a name (too long, a null character, a loop of links), None where it does."""
    try:
        os.lstat(path)
        path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "a null character in its name"
    return None


def require_file(path: Path) -> None:
    """Refuse what is not a regular file: devices never end, and a pipe can be read but once.

    Raises: MediaError: a folder, a pipe, a device, nothing, or a name that no file can have.
    """
    if why := name_refused(path):
        raise MediaError(f"{shown_path(path)}: cannot be opened ({why}). Check the path.")
    if not path.exists():
        raise MediaError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder. Give a file.")
    if not path.is_file():
        raise MediaError(f"{path}: is {kind_of(path)}, not a file. Save it to a file first and give that.")


def kind_of(path: Path) -> str:
    """What a path that is no regular file leads to, in words."""
    mode = path.stat().st_mode
    kinds = (("a pipe", stat.S_ISFIFO), ("a device", stat.S_ISCHR), ("a device", stat.S_ISBLK),
             ("a socket", stat.S_ISSOCK), ("a folder", stat.S_ISDIR))  # fmt: skip
    return next((name for name, holds in kinds if holds(mode)), "no regular file")


def shown_path(path: Path | str) -> str:
    """A path for a message: unprintable characters escaped, a very long one shortened in the middle."""
    text = printable(str(path))
    return text if len(text) <= 200 else f"{text[:80]}…{text[-80:]}"


def printable(text: str) -> str:
    """Text that any UTF-8 terminal, page or file takes: bytes of a name that are no UTF-8, and control characters,
    become `\\xNN`."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8, see os.fsdecode
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def read_text(path: Path, most_bytes: int = SETTINGS_BYTES) -> str:
    """The text of a regular UTF-8 file, without a byte order mark.

    Raises: MediaError: see `require_file`; it is longer than `most_bytes`, cannot be read, or is no UTF-8.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
    if len(data) > most_bytes:
        raise MediaError(f"{path}: longer than {most_bytes >> 20} MiB, so not a file of this kind. Check the path.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(f"{path}: not UTF-8 text. Save it as UTF-8.") from error


def parse_json(text: str, **kinds: Any) -> Any:
    """A JSON document. Raises: ValueError: it is none, is nested too deep, or holds NaN or infinity.

    Args: kinds: `parse_float` and `parse_int`, as `json.loads` takes them.
    """
    try:
        content = json.loads(text, parse_constant=_no_number, **kinds)
        depth = _depth(content)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if depth > DEEPEST:
        raise ValueError(f"nested {depth} levels deep")
    return content


def read_json(path: Path, most_bytes: int = LIST_BYTES) -> Any:
    """The content of a JSON file. Raises: MediaError, ValueError: see `read_text` and `parse_json`."""
    return parse_json(read_text(path, most_bytes))


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _depth(content: Any) -> int:
    """Levels of lists and mappings in each other."""
    depth, level = 0, [content]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
