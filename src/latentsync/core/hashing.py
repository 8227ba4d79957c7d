"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from latentsync.core.reading import require_file

BLOCK_BYTES = 1 << 22


def blocks(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces of at most 4 MiB. Raises: OSError. MediaError: no regular file."""
    require_file(path)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, in memory of one block. Raises: OSError."""
    digest = hashlib.sha256()
    for block in blocks(path):
        digest.update(block)
    return digest.hexdigest()
