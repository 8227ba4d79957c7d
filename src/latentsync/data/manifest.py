"""manifest.parquet: one line a clip, kept or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentsync import __version__
from latentsync.core.errors import MediaError, MissingExtraError
from latentsync.core.files import atomic_path
from latentsync.data.clip import GRID_FPS, Clip, dumps
from latentsync.data.stages.base import Stage

MANIFEST = "manifest.parquet"
FORMAT_VERSION = 1

TEXT = ("clip_id", "source", "source_sha256", "identity", "split", "stage", "reason", "detail", "start_exact",
        "sync_judge", "shot_finder", "quality_scorer", "files", "facts", "versions", "latentsync")  # fmt: skip
SCORES = ("face_px", "yaw_deg", "face_score", "jump_px", "others_share", "outside_share", "align_px", "steady_px",
          "sync_confidence", "confidence_at_zero", "sound_late_ms", "quality", "sharpness", "noise",
          "blockiness")  # fmt: skip
"""Columns of measured values, None where the stage was not reached."""
NUMBERS = ("start_s", "duration_s", "sound_shift_s", "value", "limit", *SCORES)


def rows_of(clips: Sequence[Clip], stages: Sequence[Stage], parts: Mapping[str, str]) -> list[dict[str, Any]]:
    """One line a clip in a fixed order: source, start, id."""
    versions = dumps({stage.name: stage.version for stage in stages})
    rows = [_row(clip, versions, parts) for clip in clips]
    return sorted(rows, key=lambda row: (row["source"], row["start_s"], row["clip_id"], row["duration_s"]))


def _row(clip: Clip, versions: str, parts: Mapping[str, str]) -> dict[str, Any]:
    no, facts = clip.rejected, clip.facts
    return {
        "clip_id": clip.clip_id,
        "source": clip.source.name,
        "source_sha256": clip.source.sha256,
        "identity": clip.source.identity,
        "split": parts.get(clip.source.identity, "") if no is None else "",
        "kept": no is None,
        "in_sync": None if no is not None else facts.get("in_sync") is not False,
        "stage": "" if no is None else no.stage,
        "reason": "" if no is None else no.reason,
        "detail": "" if no is None else no.detail,
        "value": None if no is None else no.value,
        "limit": None if no is None else no.limit,
        "start_exact": str(clip.start_s),
        "start_s": float(clip.start_s),
        "num_frames": clip.num_frames,
        "duration_s": clip.num_frames / GRID_FPS,
        "sound_shift_s": float(clip.sound_shift_s),
        **{name: clip.scores.get(name) for name in SCORES},
        **{name: str(facts.get(name) or "") for name in ("sync_judge", "shot_finder", "quality_scorer")},
        "files": dumps(dict(clip.files)),
        "facts": dumps(dict(facts)),
        "versions": versions,
        "latentsync": __version__,
    }


def write_manifest(path: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Write the lines; the settings go into the file's own metadata.

    Raises: MissingExtraError: pyarrow is not installed.
    """
    pyarrow, parquet = _arrow()
    fields = [pyarrow.field(name, pyarrow.string()) for name in TEXT]
    fields += [pyarrow.field(name, pyarrow.float64()) for name in NUMBERS]
    fields += [pyarrow.field("num_frames", pyarrow.int64()), pyarrow.field("kept", pyarrow.bool_())]
    fields += [pyarrow.field("in_sync", pyarrow.bool_())]
    about = {"settings": dumps(dict(settings)), "format": str(FORMAT_VERSION), "latentsync": __version__}
    table = pyarrow.Table.from_pylist([dict(row) for row in rows], pyarrow.schema(fields, about))
    with atomic_path(path) as part:
        parquet.write_table(table, part, compression="zstd")


def read_manifest(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of a build and its settings. Raises: MediaError: there is none. MissingExtraError."""
    import json

    _, parquet = _arrow()
    path = folder / MANIFEST
    if not path.is_file():
        raise MediaError(f"{folder}: no {MANIFEST} in it. Run `latentsync data build` first.")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read ({error}). Run `latentsync data build` again.") from error
    given = table.schema.metadata or {}
    rows = table.to_pylist()
    for row in rows:
        row.setdefault("in_sync", True if row["kept"] else None)  # builds before 0.2 rejected all others
    return rows, json.loads(given.get(b"settings", b"{}"))


def check_installed() -> None:
    """Look for what a manifest is written with, before the work. Raises: MissingExtraError."""
    _arrow()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("data", "pyarrow") from error
    return pyarrow, parquet
