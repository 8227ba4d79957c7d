"""What is asked of data and disk before anything heavy starts. No torch here."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.locks import try_lock


def check_data(paths: Sequence[Path]) -> None:
    """Raises: MediaError: a path is missing, or a folder has nothing in it."""
    if not paths:
        raise MediaError("there is no data to train on. Give a folder with --data.")
    for path in paths:
        if not path.exists():
            raise MediaError(f"{path}: no such folder. Check --data.")
        if path.is_dir() and next(_files(path), None) is None:
            raise MediaError(f"{path}: is empty. Give --data a folder of prepared clips.")


LOCK = "lock"
"""File of a run's folder that the first process of the run at work holds."""


def check_out(out: Path, first: bool = True) -> None:
    """Make the run's folder.

    Args: first: this is the first of the run's processes, which looks whether another run is at work.
    Raises: MediaError: it cannot be made or written to. LatentSyncError: another run is at work in it.
    """
    probe = out / f".{uuid.uuid4().hex[:8]}.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MediaError(f"{out}: cannot be written to ({error.strerror}). Choose another --out.") from error
    if first:
        with try_lock(out / LOCK) as ours:
            if not ours:
                raise in_use(out)


def in_use(out: Path) -> LatentSyncError:
    """What to say of a folder that another run holds."""
    return LatentSyncError(f"{out}: another run is at work in it. Wait for it, stop it, or choose another --out.")


@contextmanager
def holding(out: Path) -> Iterator[bool]:
    """Hold the run's folder, which is made, as its first process. Yields: False = another run has it."""
    out.mkdir(parents=True, exist_ok=True)
    with try_lock(out / LOCK) as ours:
        yield ours


def check_space(out: Path, state_bytes: Sequence[int], keep_states: int) -> None:
    """Refuse a disk that cannot hold the states of a run: those kept, one being written, and two components.

    Args: state_bytes: size of each part's state.
    Raises: LatentSyncError: there is too little space.
    """
    needed = sum(state_bytes) * (keep_states + 1) + (sum(state_bytes) // 2)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise LatentSyncError(
            f"{out}: {needed / 2**30:.2f} GiB are needed for {keep_states} states, {free / 2**30:.2f} GiB are free. "
            "Free space, choose another --out, or keep fewer with --set loop.keep_states=1."
        )


def fingerprint(paths: Sequence[Path]) -> dict[str, Any]:
    """Identity of data by the names and sizes of its files: not by where it lies, nor by when it was copied.

    Returns: `files`, their number; `bytes`, their sum; `sha256` over names and sizes.
    """
    digest, number, total = hashlib.sha256(), 0, 0
    for path in paths:
        for name, size in sorted(_files(path)):
            digest.update(f"{name}\0{size}\n".encode())
            number, total = number + 1, total + size
        digest.update(b"\n")
    return {"files": number, "bytes": total, "sha256": digest.hexdigest()[:16]}


def _files(path: Path, before: str = "") -> Iterator[tuple[str, int]]:
    if path.is_file():
        yield path.name, path.stat().st_size
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{before}{entry.name}/")
            else:
                yield before + entry.name, entry.stat().st_size
