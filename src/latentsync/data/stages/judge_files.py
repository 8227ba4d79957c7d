"""What tells the files of judges apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latentsync.core.errors import WeightsError
from latentsync.core.hashing import blocks


def judge_hash(path: Path) -> str:
    """SHA-256 of a checkpoint file, or of the two files of a folder, 16 digits. Raises: WeightsError: one is
    missing."""
    files = [path / "config.json", path / "model.safetensors"] if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise WeightsError(f"{file}: no such file. Give a SyncNet's checkpoint or folder.")
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()[:16]
