"""Files that exist whole or not at all."""

from __future__ import annotations

import errno
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, *((112,) if sys.platform == "win32" else ()))
"""Codes of an OSError for a disk or a quota that is used up."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a fresh path beside `target`; on success it is renamed to `target`, on any exception it is deleted.

    The temporary name keeps the target's suffix, so that writers which look at it choose the right format, and starts
    with a dot, so that a folder watcher does not pick it up. The folder is not created.
    """
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    try:
        yield part
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
