"""SHA-256 of files. No torch here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latentsync.core.errors import WeightsError


def sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in blocks of 4 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: Path, expected: str | None, fix: str) -> str:
    """Returns the SHA-256. Raises WeightsError unless the file is there and has the one `expected` (None = any)."""
    if not path.is_file():
        raise WeightsError(f"{path}: missing. {fix}")
    found = sha256(path)
    if expected is not None and found != expected:
        raise WeightsError(f"{path}: SHA-256 {found[:12]}…, expected {expected[:12]}…: damaged or changed. {fix}")
    return found
