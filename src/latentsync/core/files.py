"""Files that exist whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from latentsync.core.errors import MediaError
from latentsync.core.locks import try_hold

log = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, *((112,) if sys.platform == "win32" else ()))
"""Codes of an OSError for a disk or a quota that is used up."""


ABANDONED_S = 6 * 3600
"""A part that was not written to for so long has lost its process. Live ones wait for their next frames at most as long
as a chunk takes, half an hour with the largest model on a slow CPU."""
_PART = re.compile(r"\..*\.[0-9a-f]{8}\.part(\.[^.]*)?", re.DOTALL)


_temporary: set[str] = set()  # folders of this process, also those that are deleted: messages may come later


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of our own, deleted at the end. Messages leave it out, see `without_temporary`."""
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        _temporary.add(folder)
        yield Path(folder)


def without_temporary(text: str) -> str:
    """A message in which files of our temporary folders are reported by their names: nobody can look for their
    paths."""
    for folder in _temporary:
        text = text.replace(folder + os.sep, "")
    return text


def same_file(one: Path, other: Path) -> bool:
    """Whether both name one file, or would if it existed: through links and other spellings, too."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.normcase(one.resolve()) == os.path.normcase(other.resolve())


def refuse_input(target: Path, sources: Iterable[Path]) -> None:
    """Refuse to write over what is read. Raises: MediaError: the target is one of the sources."""
    if target.exists() and any(same_file(target, source) for source in sources):
        raise MediaError(f"{target}: is also an input. Choose another name for the output.")


def refuse_unwritable(target: Path) -> None:
    """Refuse a place beside which nothing can be written. Raises: MediaError: its folder is read-only."""
    if not os.access(target.absolute().parent, os.W_OK):
        raise MediaError(f"{target}: the folder cannot be written to. Choose another place.")


@contextmanager
def atomic_path(target: Path, held: bool = False) -> Iterator[Path]:
    """Yield a fresh path beside `target`; on success it is renamed to `target`, on any exception it is deleted.

    The temporary name keeps the target's suffix, so that writers which look at it choose the right format, and starts
    with a dot, so that a folder watcher does not pick it up. The folder is not created.

    Args: held: make it at once and hold it, so that `sweep_parts_of` knows that somebody writes it (not on Windows).
    """
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    with try_hold(part) if held and sys.platform != "win32" else nullcontext():
        try:
            yield part
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def target_of(name: str | Path) -> Path:
    """The file that a part of `atomic_path` was to become, by its name; any other file is itself."""
    path = Path(name)
    if not _PART.fullmatch(path.name):
        return path
    stem, _, suffix = path.name[1:].rpartition(".part")
    return path.with_name(stem[: -len(".01234567")] + suffix)


def sweep_parts_of(target: Path) -> None:
    """Delete what killed processes left of this target's held parts: those that nobody holds (not on Windows)."""
    name = re.compile(rf"\.{re.escape(target.stem)}\.[0-9a-f]{{8}}\.part{re.escape(target.suffix)}")
    for path in target.parent.iterdir() if sys.platform != "win32" else ():
        if name.fullmatch(path.name) and path.is_file():
            try:
                with try_hold(path, must_exist=True) as taken:
                    if taken:
                        path.unlink()
                        log.info("%s: deleted, a run that was killed had left it", path)
            except OSError as error:  # swept by another run meanwhile, finished, or somebody else's
                log.debug("%s: not deleted (%s)", path, error.strerror)


def sweep_parts(folder: Path, abandoned_s: float = ABANDONED_S) -> int:
    """Delete what killed processes left of their `atomic_path`s directly in a folder of ours, where that is allowed.

    Args: abandoned_s: seconds without a change from which a part is nobody's any more.
    Returns: number of files deleted.
    """
    swept = 0
    for path in folder.glob(".*.part*"):
        try:
            if _PART.fullmatch(path.name) and time.time() - path.stat().st_mtime > abandoned_s:
                path.unlink()
                swept += 1
        except OSError as error:  # swept by another run meanwhile, or somebody else's
            log.debug("%s: not deleted (%s)", path, error.strerror)
    return swept
