"""Arrays computed once per clip, kept under the hash of what they were made from: never under a name."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentsync.core.errors import LatentSyncError
from latentsync.core.files import DISK_FULL, atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.training.datasets.clips import AnyClip

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
ARRAYS = ("crops.npy", "mesh.npy", "wave.npy")


def default_cache() -> Path:
    """`$LATENTSYNC_CACHE/training`, else below the user's cache folder."""
    base = os.environ.get("LATENTSYNC_CACHE")
    if base is None:
        base = str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "latentsync")
    return Path(base) / "training"


def content_of(clip: AnyClip) -> str:
    """Hash of a clip's pictures and sound: what it says itself (shards, synthetic clips), else of its files' bytes."""
    own = getattr(clip, "content", None)
    if own:
        return str(own)
    facts = _facts(clip)
    if facts not in _KNOWN:  # tasks ask for each example: the files are read once
        digest = hashlib.sha256()
        for name in ARRAYS:
            path = clip.path / name
            if path.is_file():
                digest.update(f"{name} {file_sha256(path)}\n".encode())
        _KNOWN[facts] = digest.hexdigest()
    return _KNOWN[facts]


_KNOWN: dict[tuple[tuple[str, int, int], ...], str] = {}


def _facts(clip: AnyClip) -> tuple[tuple[str, int, int], ...]:
    """Place, size and time of change of a clip's files."""
    paths = [path for path in (clip.path / name for name in ARRAYS) if path.is_file()]
    return tuple((str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


def module_hash(module: nn.Module) -> str:
    """Hash of a network's class and of all its values."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


class ArrayCache:
    """A folder of arrays. Safe to share between processes: files appear whole."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_cache()
        self._contents: dict[str, str] = {}

    def content_of(self, clip: AnyClip) -> str:
        """`content_of` the clip; files are read again only when one's place, size or time of change differs."""
        if getattr(clip, "content", None):
            return content_of(clip)
        key = hashlib.sha256(repr(list(_facts(clip))).encode()).hexdigest()[:32]
        if key not in self._contents:
            known = self.folder / "contents" / key[:2] / f"{key}.txt"
            if not known.is_file():
                known.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(known) as part:
                    part.write_text(content_of(clip), encoding="utf-8")
            self._contents[key] = known.read_text("utf-8")
        return self._contents[key]

    def place(self, kind: str, *made_from: str) -> Path:
        """Where the array `kind` made from these hashes and settings lies."""
        key = hashlib.sha256("\n".join((kind, *made_from)).encode()).hexdigest()[:32]
        return self.folder / kind / key[:2] / f"{key}.npy"

    def get(self, kind: str, made_from: tuple[str, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array, mapped and read-only; made and stored where it isn't there or can't be read.

        Raises: LatentSyncError: the cache's disk is full.
        """
        path = self.place(kind, *made_from)
        if path.is_file():
            try:
                return np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                log.warning("%s: made again, it cannot be read (%s)", path, error)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        try:
            with atomic_path(path) as part:
                np.save(part, made)
        except OSError as error:
            if error.errno not in DISK_FULL and "requested and" not in str(error):  # NumPy's own words for it
                raise
            more = "Free space there, or set LATENTSYNC_CACHE to a folder on another disk; then run again"
            raise LatentSyncError(f"{self.folder}: the disk of this cache is full. {more}.") from error
        return np.load(path, mmap_mode="r", allow_pickle=False)
