"""manifest.parquet: one line a clip, kept or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from latentsync import __version__
from latentsync.config.times import exact
from latentsync.core.errors import MediaError, MissingExtraError, shown
from latentsync.core.escaping import utf8
from latentsync.core.files import atomic_path
from latentsync.core.reading import parse_json
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
LATER = ("detail", "sync_judge", "shot_finder", "quality_scorer", "versions", "latentsync", "source_sha256")
"""Columns that builds of other versions may lack."""
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
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
    lines = [{key: utf8(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    table = pyarrow.Table.from_pylist(lines, pyarrow.schema(fields, about))
    with atomic_path(path) as part:
        parquet.write_table(table, part, compression="zstd")


def read_manifest(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of a build and its settings. Raises: MediaError: there is none. MissingExtraError."""
    _, parquet = _arrow()
    path = folder / MANIFEST
    if not path.is_file():
        raise MediaError(f"{folder}: no {MANIFEST} in it. Run `latentsync data build` first.")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read ({error}). Run `latentsync data build` again.") from error
    again = "Run `latentsync data build` again."
    try:
        given = parse_json((table.schema.metadata or {}).get(b"settings", b"{}").decode("utf-8"))
        if not isinstance(given, dict):
            raise ValueError("its settings are no JSON object")
        _check_columns(table)
        rows = table.to_pylist()
        for row in rows:
            row.setdefault("in_sync", True if row["kept"] else None)  # builds before 0.2 rejected all others
            _check_row(row)
    except (ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{path}: is damaged or of something else ({shown(error)}). {again}") from error
    return rows, given


def _check_columns(table: Any) -> None:
    """Raises: ValueError: a column is missing, or holds values of another kind."""
    pyarrow, _ = _arrow()
    is_kind = pyarrow.types
    needed = {name: is_kind.is_string for name in TEXT if name not in LATER}
    needed |= {name: is_kind.is_floating for name in NUMBERS if name not in SCORES}
    needed |= {"num_frames": is_kind.is_integer, "kept": is_kind.is_boolean}
    for name, holds in needed.items():
        if name not in table.schema.names or not holds(table.schema.field(name).type):
            raise ValueError(f"no column {name}")


def _check_row(row: Mapping[str, Any]) -> None:
    """Raises: ValueError: an id that is no name, a part of the split that is none, files outside the build."""
    if row["kept"] and not _ID.fullmatch(str(row["clip_id"])):
        raise ValueError(f"{row['clip_id']!r} is no id of a clip")
    if row["split"] not in ("", "train", "val", "test", None):
        raise ValueError(f"{row['split']!r} is no part of the data")
    for name in ("source", "identity", "stage", "reason", "duration_s", "start_s", "num_frames", "kept"):
        if row[name] is None:
            raise ValueError(f"a line without {name}")
    exact(row["start_exact"])
    for file in dict(parse_json(row["files"] or "{}")).values():
        place = PurePosixPath(str(file))
        if place.is_absolute() or ".." in place.parts or "\0" in str(file):
            raise ValueError(f"{str(file)!r} lies outside the build")


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
