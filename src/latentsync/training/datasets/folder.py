"""Clips of a folder: one folder a clip, or the output of `latentsync data build --training`."""

from __future__ import annotations

from pathlib import Path

from latentsync.core.errors import LatentSyncError
from latentsync.training.datasets.clip_files import load_clips, read_meta
from latentsync.training.datasets.clips import FPS, SAMPLES_PER_FRAME, AnyClip

MANIFEST = "manifest.parquet"


def folder_clips(root: Path, split: str | None) -> list[AnyClip]:
    """Prepared clips of one split (None = of all), sorted by name; see `datasets.clip_files.Clip` for the files.

    Raises: LatentSyncError: there are none; a build without arrays; clips that aren't at 25 frames a second.
    """
    inner = root / "clips" if (root / MANIFEST).is_file() else root
    if inner != root and not any(inner.glob("*/clip.json")):
        raise LatentSyncError(f"{root}: no clip was kept in it. `latentsync data report {root}` tells why")
    if inner != root and not any(inner.glob("*/meta.json")):
        raise LatentSyncError(f"{root}: built without arrays. Run `latentsync data build` again with --training")
    clips: list[AnyClip] = list(load_clips(inner, split))
    check_rate(clips)
    return clips


def check_rate(clips: list[AnyClip]) -> None:
    """Raises: LatentSyncError: a clip says another rate than 25, or picture and sound differ by more than a tenth."""
    for clip in clips:
        given = read_meta(clip.path / "meta.json").get("fps", FPS)
        if given != FPS:
            raise LatentSyncError(f"{clip.path}: prepared at {given} frames a second. Prepare it again at {FPS}")
        pictures, sound = len(clip.crops), len(clip.wave) / SAMPLES_PER_FRAME
        if abs(sound - pictures) > max(3, 0.1 * pictures):
            raise LatentSyncError(
                f"{clip.path}: {pictures} frames last {pictures / FPS:.2f} s at {FPS} fps, its sound "
                f"{sound / FPS:.2f} s. Prepare it again from a video at {FPS} frames a second"
            )
