"""Many films: a list or a folder becomes jobs of one table, which workers of this machine or of a Ray cluster run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.reading import parse_json, read_text

VIDEOS = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mxf", ".mpg", ".ts", ".mts"))
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".aif", ".aiff")
OWN = ("video", "audio", "plan", "out", "preset", "model")
LIST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One film of a batch.

    Attributes:
        video, audio, plan: files; a speech or a plan. out: the name of the result inside the output folder.
        options: fields of `SyncOptions` by name, as they were written.
    """

    video: Path
    audio: Path | None
    plan: Path | None
    out: str
    preset: str | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for the same work: files by path, size and time, settings by value."""
        seen = [[str(path.resolve()), _stamp(path)] for path in (self.video, self.audio, self.plan) if path is not None]
        words = json.dumps([seen, self.out, self.preset, self.model, dict(self.options)], sort_keys=True, default=str)
        return hashlib.sha256(words.encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def read_batch(source: Path) -> list[BatchItem]:
    """The films of a .csv (with a header), .jsonl or folder.

    In a list each row names `video` and `audio` (or `plan`), and may name `out`, `preset`, `model` and any field of
    `SyncOptions`; relative paths are taken from the list's folder. In a folder every video goes with the sound file of
    the same name (`a.mp4`, `a.wav`), or with each that begins with it and a dot (`a.de.wav`, `a.fr.wav`).

    Raises: ConfigError: an unknown column, two rows with one `out`, nothing in it. MediaError: it cannot be read.
    """
    if source.is_dir():
        items = list(_paired(source))
        if not items:
            raise ConfigError("JOBS", str(source), "there is no video with a sound file of the same name in it")
    else:
        rows = _rows(source)
        items = [_item(row, number, source) for number, row in enumerate(rows, 1)]
        if not items:
            raise ConfigError("JOBS", str(source), "there is no row in it")
    seen: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        name = os.path.normcase(item.out)
        if name in seen:
            fix = f"rows {seen[name]} and {number} both write {item.out}; give each its own out"
            raise ConfigError("JOBS", str(source), fix)
        seen[name] = number
    return items


def _paired(folder: Path) -> Iterator[BatchItem]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    videos = [path for path in files if path.suffix.lower() in VIDEOS]
    stems = sorted((path.stem for path in videos), key=len, reverse=True)
    for video in videos:
        for sound in sounds:
            owner = next((stem for stem in stems if sound.stem == stem or sound.stem.startswith(f"{stem}.")), None)
            if owner == video.stem:
                yield BatchItem(video, sound, None, f"{sound.stem}{_kind(video)}")


def _kind(video: Path) -> str:
    suffix = video.suffix.lower()
    return suffix if suffix in (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi") else ".mp4"


def _rows(source: Path) -> Sequence[Mapping[str, Any]]:
    text = read_text(source, LIST_BYTES)
    suffix = source.suffix.lower()
    if suffix == ".csv":
        first = text.partition("\n")[0]
        comma = ";" if ";" in first and "," not in first else ","
        found: list[Mapping[str, Any]] = []
        for row in csv.DictReader(io.StringIO(text), delimiter=comma):
            if row.pop(None, None):
                raise ConfigError("JOBS", str(source), f"row {len(found) + 1}: more values than columns; quote them")
            named = {str(key).strip(): (value or "").strip() for key, value in row.items()}
            if any(named.values()):
                found.append({key: value for key, value in named.items() if key and value})
        return found
    if suffix in (".jsonl", ".ndjson"):
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                raise ConfigError("JOBS", str(source), f"line {number} is not valid JSON") from error
            if not isinstance(row, dict):
                raise ConfigError("JOBS", str(source), f"line {number}: write one object a line")
            found.append({str(key): value for key, value in row.items() if value is not None})
        return found
    raise ConfigError("JOBS", str(source), "name a .csv, a .jsonl or a folder")


def _item(row: Mapping[str, Any], number: int, source: Path) -> BatchItem:
    known = (*OWN, *SyncOptions.__dataclass_fields__)
    for key in row:
        if key not in known:
            raise ConfigError("JOBS", str(source), f"row {number}: unknown column {key!r}; take of {', '.join(known)}")
    if "video" not in row or ("audio" in row) == ("plan" in row):
        raise ConfigError("JOBS", str(source), f"row {number}: name a video, and either audio or plan")

    def file(key: str) -> Path | None:
        return source.parent / str(row[key]) if key in row else None

    video = source.parent / str(row["video"])
    second = file("audio") or file("plan")
    out = str(row.get("out") or f"{video.stem}-{second.stem if second else ''}{_kind(video)}")
    if Path(out).name != out or out in ("", ".", ".."):
        raise ConfigError("JOBS", str(source), f"row {number}: out {out!r}: give a file name without a folder")
    if not Path(out).suffix:
        out += _kind(video)
    options = {key: _value(key, row[key]) for key in row if key not in OWN}
    for key in ("face", "mix"):
        if key in options and (source.parent / str(options[key])).is_file():
            options[key] = str(source.parent / str(options[key]))
    return BatchItem(video, file("audio"), file("plan"), out, row.get("preset"), row.get("model"), options)


def _value(key: str, given: Any) -> Any:
    """A word of a CSV as the option's kind reads it: numbers as numbers, times and names as text."""
    from latentsync.config.loader import parse_value

    if not isinstance(given, str) or key in ("face", "mix", "audio_track", "codec", "pixel_format"):
        return given
    value = parse_value(given)
    return value if isinstance(value, (int, float, bool)) and ":" not in given else given


def missing(items: Sequence[BatchItem], is_there: Callable[[Path], bool] = Path.is_file) -> list[str]:
    """A line for each file that is named and not there."""
    lines = []
    for number, item in enumerate(items, 1):
        for path in (item.video, item.audio, item.plan):
            if path is not None and not is_there(path):
                lines.append(f"row {number}: {path}: no such file")
    return lines


def check_folder(out: Path) -> None:
    """Raises: MediaError: the output folder is a file."""
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out}: is a file. Choose a folder for the results.")
    out.mkdir(parents=True, exist_ok=True)
