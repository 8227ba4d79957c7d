"""Prepared clips on disk: aligned crops, mesh, speech, one folder per clip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from latentsync.core.errors import LatentSyncError


@dataclass(frozen=True)
class Clip:
    """One prepared clip: `crops.npy` (F, R, R, 3) uint8, `mesh.npy` (F, 468, 2) float32 in crop pixels,
    `wave.npy` (S,) float32 at 16 kHz, `meta.json` (person, split, in_sync, fps 25)."""

    path: Path
    person: str
    split: str
    in_sync: bool

    @cached_property
    def crops(self) -> np.ndarray:
        """(F, R, R, 3) uint8, mapped, not read."""
        return np.load(self.path / "crops.npy", mmap_mode="r")

    @cached_property
    def mesh(self) -> np.ndarray:
        """(F, 468, 2) float32, crop pixels."""
        return np.load(self.path / "mesh.npy")

    @cached_property
    def wave(self) -> np.ndarray:
        """(S,) float32, 16 kHz, starting with the first frame."""
        return np.load(self.path / "wave.npy")


def load_clips(root: Path, split: str | None) -> list[Clip]:
    """The clips of one split (None = of all), sorted by name. Raises: LatentSyncError: there are none."""
    clips = []
    for meta_path in sorted(root.glob("*/meta.json")):
        meta = json.loads(meta_path.read_text())
        if split in (None, meta["split"]):
            clips.append(Clip(meta_path.parent, meta["person"], meta["split"], meta["in_sync"]))
    if not clips:
        what = "" if split is None else f" of split {split!r}"
        raise LatentSyncError(f"{root}: no prepared clips{what}. Prepare some first")
    return clips
