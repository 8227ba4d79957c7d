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

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.locks import try_hold
from latentsync.core.reading import kind_of, name_refused, shown_path

log = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, *((112,) if sys.platform == "win32" else ()))
"""Codes of an OSError for a disk or a quota that is used up."""


LONGEST_NAME = 255
"""Bytes of a file's name that all usual file systems take."""
ABANDONED_S = 6 * 3600
"""A part that was not written to for so long has lost its process. Live ones wait for their next frames at most as long
as a chunk takes, half an hour with the largest model on a slow CPU."""
_PART = re.compile(r"\..*\.[0-9a-f]{8}\.part(\.[^.]*)?", re.DOTALL)


_temporary: set[str] = set()  # folders of this process, also those that are deleted: messages may come later


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of our own, deleted at the end. Messages leave it out, see `without_temporary`.

    Raises: LatentSyncError: no place for it can be written to.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="latentsync-")
    except OSError as error:
        reason = error.strerror or "none of the usual ones can be written to"
        raise LatentSyncError(
            f"there is no temporary folder ({reason}). Name one that can be written to in TMPDIR"
        ) from error
    with made as folder:
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
    """Refuse a place at which no file can be put.

    Raises: MediaError: its folder is read-only; a pipe, a device, or a link that leads nowhere has the name; no file
        can have it; another run is writing it.
    """
    if why := name_refused(target):
        raise MediaError(f"{shown_path(target)}: cannot be written ({why}). Choose another name.")
    if target.is_symlink() and not target.exists():
        raise MediaError(f"{target}: is a link that leads nowhere. Delete it, or choose another name.")
    if target.exists() and not target.is_file() and not target.is_dir():
        raise MediaError(f"{target}: is {kind_of(target)}, not a file. Choose another name.")
    if any(_is_written(part) for part in _parts_of(target)):
        raise MediaError(f"{target}: another run is writing it. Wait for it, or choose another name.")
    if not os.access(target.absolute().parent, os.W_OK):
        raise MediaError(f"{target}: the folder cannot be written to. Choose another place.")


@contextmanager
def atomic_path(target: Path, held: bool = False, replace: bool = True, durable: bool = False) -> Iterator[Path]:
    """Yield a fresh path beside `target`; on success it is renamed to `target`, on any exception it is deleted.

    The temporary name keeps the target's suffix, so that writers which look at it choose the right format, and starts
    with a dot, so that a folder watcher does not pick it up. The folder is not created.

    Args:
        held: make it at once and hold it, so that `sweep_parts_of` knows that somebody writes it (not on Windows).
        replace: False = a file that came to have the name meanwhile stays, and the new one is deleted.
        durable: it is on the disk before it has its name: a computer that stops leaves the old or the new one.
    Raises: MediaError: the name is taken, and `replace` is False.
    """
    part = target.with_name(f".{_stem_of(target)}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    with try_hold(part) if held and sys.platform != "win32" else nullcontext():
        try:
            yield part
            if durable:
                _flush(part)
            if replace:
                part.replace(target)
            else:
                _put(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _stem_of(target: Path) -> str:
    """What of a target's name goes into its part's, so that a long one stays within what systems take."""
    stem = target.stem
    while len(os.fsencode(f".{stem}.01234567.part{target.suffix}")) > LONGEST_NAME and stem:
        stem = stem[:-1]
    return stem


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _put(part: Path, target: Path) -> None:
    """Give a part its name where nobody has it, in one step of the system."""
    try:
        try:
            os.link(part, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists") from None
            part.rename(target)
        else:
            part.unlink()
    except FileExistsError as error:
        raise MediaError(
            f"{target}: came to exist during the run and is left as it is. Choose another name."
        ) from error


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all; bytes of file names that are no UTF-8 are written escaped."""
    with atomic_path(target) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def target_of(name: str | Path) -> Path:
    """The file that a part of `atomic_path` was to become, by its name; any other file is itself."""
    path = Path(name)
    if not _PART.fullmatch(path.name):
        return path
    stem, _, suffix = path.name[1:].rpartition(".part")
    return path.with_name(stem[: -len(".01234567")] + suffix)


def sweep_parts_of(target: Path) -> None:
    """Delete what killed processes left of this target's held parts: those that nobody holds (not on Windows)."""
    for path in _parts_of(target):
        try:
            with try_hold(path, must_exist=True) as taken:
                if taken:
                    path.unlink()
                    log.info("%s: deleted, a run that was killed had left it", path)
        except OSError as error:  # swept by another run meanwhile, finished, or somebody else's
            log.debug("%s: not deleted (%s)", path, error.strerror)


def _parts_of(target: Path) -> list[Path]:
    """The held parts of a target, of live runs and of killed ones (none on Windows)."""
    name = re.compile(rf"\.{re.escape(_stem_of(target))}\.[0-9a-f]{{8}}\.part{re.escape(target.suffix)}")
    folder = target.absolute().parent
    if sys.platform == "win32" or not folder.is_dir():
        return []
    try:
        return [path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file()]
    except OSError:  # a folder that may be written to, but not listed
        return []


def _is_written(part: Path) -> bool:
    try:
        with try_hold(part, must_exist=True) as taken:
            return taken is False
    except OSError:  # gone meanwhile, or somebody else's
        return False


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
