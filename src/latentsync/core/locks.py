"""A file that one process holds at a time; the system lets go of it when that process ends, however it ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

log = logging.getLogger(__name__)
_held: set[BufferedRandom] = set()
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Make the file if it is not there and hold it. Yields: False = another process (or place of this one) has it.

    Processes forked meanwhile do not hold it, so that one which outlives us keeps nobody out. The file stays when it is
    let go: deleting it would let two processes hold a file of this name. A file system that cannot lock is warned of.

    Raises: OSError: the file cannot be made.
    """
    with try_hold(path) as taken:
        if taken is None:
            log.warning("%s: this file system cannot lock; nothing keeps others out", path.parent)
        yield taken is not False


@contextmanager
def try_hold(path: Path, must_exist: bool = False) -> Iterator[bool | None]:
    """The same without a word. Yields: None = this file system cannot lock.

    Raises: OSError: the file cannot be made, or is not there.
    """
    with path.open("r+b" if must_exist else "a+b") as file:
        taken = _lock(file.fileno(), path)
        if taken:
            _held.add(file)
        try:
            yield taken
        finally:
            _held.discard(file)


def _lock(descriptor: int, path: Path) -> bool | None:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        log.debug("%s: cannot be locked (%s)", path, error.strerror)
        return None
    return True


def _let_go_in_child() -> None:
    """A forked child shares the lock as long as it has the file open."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
