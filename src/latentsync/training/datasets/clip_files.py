"""Prepared clips on disk: aligned crops, mesh, speech, one folder per clip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.reading import read_json, require_file


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
        return _array(self.path / "crops.npy", "|u1", (None, None, None, 3), is_mapped=True)

    @cached_property
    def mesh(self) -> np.ndarray:
        """(F, 468, 2) float32, crop pixels."""
        return _array(self.path / "mesh.npy", "<f4", (None, None, 2))

    @cached_property
    def wave(self) -> np.ndarray:
        """(S,) float32, 16 kHz, starting with the first frame."""
        return _array(self.path / "wave.npy", "<f4", (None,))


def _array(path: Path, dtype: str, shape: tuple[int | None, ...], is_mapped: bool = False) -> np.ndarray:
    """An array of a clip. Raises: LatentSyncError: it is missing, cut off, of another kind, or holds NaN."""
    try:
        require_file(path)
        found: np.ndarray = np.load(path, mmap_mode="r" if is_mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise LatentSyncError(f"{path}: damaged ({reason}). Prepare the clip again, or delete its folder") from error
    except MediaError as error:
        raise LatentSyncError(f"{error} Prepare the clip again, or delete its folder") from error
    fits = isinstance(found, np.ndarray) and found.ndim == len(shape) and len(found) > 0
    fits = fits and all(want in (None, got) for want, got in zip(shape, found.shape, strict=True))
    if not fits or found.dtype.kind != np.dtype(dtype).kind or found.dtype.itemsize != np.dtype(dtype).itemsize:
        raise LatentSyncError(f"{path}: holds {found.dtype} {found.shape}, which no clip has. Prepare the clip again")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise LatentSyncError(f"{path}: holds NaN or infinity. Prepare the clip again, or delete its folder")
    return found


def read_meta(path: Path) -> dict[str, Any]:
    """What a clip says of itself. Raises: LatentSyncError: it is damaged, or says something else."""
    try:
        meta = read_json(path)
    except ValueError as error:
        raise LatentSyncError(f"{path}: damaged ({error}). Prepare the clip again, or delete its folder") from error
    kinds = {"person": str, "split": str, "in_sync": bool}
    wrong = [key for key, kind in kinds.items() if not isinstance(meta, dict) or not isinstance(meta.get(key), kind)]
    if wrong or not isinstance(meta.get("fps", 25), int | float):
        raise LatentSyncError(f"{path}: does not say {wrong[0] if wrong else 'fps'}. Prepare the clip again")
    return dict(meta)


def load_clips(root: Path, split: str | None) -> list[Clip]:
    """The clips of one split (None = of all), sorted by name. Raises: LatentSyncError: there are none."""
    clips = []
    for meta_path in sorted(root.glob("*/meta.json")):
        meta = read_meta(meta_path)
        if split in (None, meta["split"]):
            clips.append(Clip(meta_path.parent, meta["person"], meta["split"], meta["in_sync"]))
    if not clips:
        what = "" if split is None else f" of split {split!r}"
        raise LatentSyncError(f"{root}: no prepared clips{what}. Prepare some first")
    return clips
