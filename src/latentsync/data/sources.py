"""The inputs: a folder, a list, or URLs; who speaks in each; and what is in them."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.core.reading import LIST_BYTES, parse_json, printable, read_json, read_text
from latentsync.data.clip import Clip, Source, dumps, whole
from latentsync.data.workspace import Workspace

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv",
                  ".3gp", ".ogv", ".vob")  # fmt: skip
SOUND_SUFFIXES = (".wav", ".mp3", ".flac", ".m4a", ".aac", ".ogg", ".opus")
"""Taken in too, so that a sound file without pictures is named in the manifest instead of being passed over."""
YES, NO = ("yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True, slots=True)
class Speaker:
    """How to know who speaks: a pattern on the name (its first group, else all of it); None = by the list's column,
    else by the folder below the input, else each source by itself."""

    pattern: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ConfigError("speaker", self.pattern, f"not a regular expression ({error})") from error

    def of(self, name: str, given: str | None) -> str:
        if self.pattern is not None:
            found = re.search(self.pattern, name)
            if found is None:
                return name
            return found.group(1) if found.re.groups else found.group(0)
        if given:
            return given
        folder = name.rpartition("/")[0] if "://" not in name else ""
        return folder.split("/")[0] if folder else name


def find_sources(inputs: str, speaker: Speaker, leave_out: Sequence[str] = ()) -> list[Source]:
    """The sources that `inputs` names, sorted by name, without reading them.

    Args:
        inputs: a folder (looked through, hidden entries left out), a video, a URL that fsspec understands, or a list:
            .txt with one path or URL a line; .csv or .jsonl with the keys `path` (or `file` or `url`) and, if wanted,
            `speaker` (or `person`) and `in_sync` (no = its sound does not belong to its mouth). Paths in a list are
            relative to it.
        leave_out: glob patterns on the names.
    Raises: MediaError: there is no such thing, or nothing in it.
    """
    found = list(_found(inputs, speaker))
    kept = [source for source in found if not any(Path(source.name).match(pattern) for pattern in leave_out)]
    if not kept:
        endings = ", ".join(VIDEO_SUFFIXES[:4])
        raise MediaError(f"{inputs}: no videos in it. Pass a folder with {endings} … files, or a list of them.")
    by_name: dict[str, Source] = {}
    for source in kept:
        if source.name in by_name:
            raise MediaError(f"{inputs}: names {source.name} twice. Leave one of the lines out.")
        by_name[source.name] = source
    return [by_name[name] for name in sorted(by_name)]


def _found(inputs: str, speaker: Speaker) -> Iterator[Source]:
    if "://" in inputs:
        yield Source(inputs, inputs, identity=speaker.of(inputs, None))
        return
    path = Path(inputs)
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in files:
                place = Path(folder) / file
                if not file.startswith(".") and place.suffix.lower() in (*VIDEO_SUFFIXES, *SOUND_SUFFIXES):
                    name = printable(place.relative_to(path).as_posix())
                    yield Source(name, str(place.absolute()), identity=speaker.of(name, None))
    elif not path.exists():
        raise MediaError(f"{inputs}: no such folder, list or file. Check the name.")
    elif path.suffix.lower() in (".txt", ".csv", ".jsonl", ".lst"):
        yield from _listed(path, speaker)
    else:
        name = printable(path.name)
        yield Source(name, str(path.absolute()), identity=speaker.of(name, None))


def _listed(path: Path, speaker: Speaker) -> Iterator[Source]:
    for number, entry in enumerate(_entries(path), start=1):
        name = next((entry[key] for key in ("path", "file", "url") if entry.get(key)), None)
        if not isinstance(name, str):
            raise MediaError(f"{path}: entry {number} has no path, file or url. Add one.")
        given = entry.get("speaker") or entry.get("person")
        place = name if "://" in name else str((path.parent / name).absolute())
        identity = speaker.of(name, None if given is None else str(given))
        yield Source(name, place, identity=identity, in_sync=_in_sync(path, number, entry.get("in_sync")))


def _in_sync(path: Path, number: int, given: object) -> bool:
    """The list's column: yes (or nothing) or no. Raises: MediaError: another word."""
    word = str("yes" if given in (None, "") else given).strip().lower()
    if word not in (*YES, *NO):
        raise MediaError(f"{path}: entry {number} has in_sync {given!r}. Write yes or no.")
    return word in YES


def _entries(path: Path) -> Iterator[dict[str, object]]:
    try:
        text = read_text(path, LIST_BYTES)
        if path.suffix.lower() == ".csv":
            yield from csv.DictReader(text.splitlines())  # type: ignore[misc]
            return
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                yield _line(line) if path.suffix.lower() == ".jsonl" else {"path": line.strip()}
    except (csv.Error, ValueError) as error:
        raise MediaError(f"{path}: not a list that can be read ({error}). Use UTF-8 .txt, .csv or .jsonl.") from error


def _line(text: str) -> dict[str, object]:
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("a line is no JSON object")
    return content


def begin(sources: Sequence[Source], workspace: Workspace, num_threads: int) -> list[Clip]:
    """Fetch what is remote, hash what is in every source, and make the first clip of each.

    Sources that cannot be read, and all but the first of several with the same content, are rejected here.
    """
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        known = list(pool.map(lambda source: _identified(source, workspace), sources))
    clips: list[Clip] = []
    first: dict[str, str] = {}
    for clip in known:
        sha256 = clip.source.sha256
        if clip.rejected is None and sha256 in first:
            clip = clip.reject("probe", "duplicate", detail=f"same content as {first[sha256]}")
        elif clip.rejected is None:
            first[sha256] = clip.source.name
        clips.append(clip)
    return clips


def _identified(source: Source, workspace: Workspace) -> Clip:
    try:
        path = _fetched(source, workspace)
        status = path.stat()
        memo = workspace.file("hashes", hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32] + ".json")
        stamp = [status.st_size, status.st_mtime_ns]
        try:
            found = read_json(memo)
        except (MediaError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("stamp") != stamp or not isinstance(found.get("sha256"), str):
            found = {"stamp": stamp, "sha256": file_sha256(path)}
            with atomic_path(memo) as part:
                part.write_text(dumps(found), encoding="utf-8")
        return whole(replace(source, path=str(path), sha256=found["sha256"]))
    except PermissionError as error:
        return whole(source).reject("probe", "unreadable", detail=f"no permission ({error.strerror})")
    except (OSError, MediaError) as error:
        from latentsync.data.workspace import is_disk_full

        if is_disk_full(error):
            raise MediaError(f"{workspace.root}: the disk is full. Free some space, then run again.") from error
        return whole(source).reject("probe", "unreadable", detail=str(error))


def _fetched(source: Source, workspace: Workspace) -> Path:
    """The source as a local file; a remote one is copied once, below the output folder."""
    if "://" not in source.path:
        return Path(source.path)
    suffix = Path(source.path.split("?")[0]).suffix
    target = workspace.file("inputs", hashlib.sha256(source.path.encode()).hexdigest()[:32] + suffix)
    if not target.exists():
        try:
            import fsspec
        except ImportError as error:
            raise ConfigError("inputs", source.path, 'URLs need: pip install "latentsync[data]"') from error
        try:
            with atomic_path(target) as part, fsspec.open(source.path, "rb") as remote, part.open("wb") as local:
                while block := remote.read(1 << 20):
                    local.write(block)
        except (ImportError, ValueError) as error:
            raise MediaError(f"{source.path}: cannot be fetched ({error}). Check the URL.") from error
    return target
