"""SHA-256 of files. No torch here."""

from __future__ import annotations

from pathlib import Path

from latentsync.core.errors import MediaError, WeightsError
from latentsync.core.hashing import file_sha256
from latentsync.core.reading import require_file


def check_file(path: Path, expected: str | None, fix: str) -> str:
    """Returns the SHA-256. Raises WeightsError unless the file is there and has the one `expected` (None = any)."""
    if not path.is_file():
        raise WeightsError(f"{path}: missing. {fix}")
    found = file_sha256(path)
    if expected is not None and found != expected:
        raise WeightsError(f"{path}: SHA-256 {found[:12]}…, expected {expected[:12]}…: damaged or changed. {fix}")
    return found


def require_weights(path: Path, fix: str) -> None:
    """Raises: WeightsError: a path that leads to no regular file."""
    try:
        require_file(path)
    except MediaError as error:
        raise WeightsError(f"{str(error).rpartition('. ')[0]}. {fix}") from error
