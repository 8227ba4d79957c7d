"""Plans as dubbing studios export them: subtitles with a file for each line, edit decision lists, OpenTimelineIO.

All of them become rows as a plan in YAML or CSV has them, times as exact seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from latentsync.core.errors import ConfigError, MissingExtraError
from latentsync.core.reading import name_refused
from latentsync.core.timecode import Timecode

Row = dict[str, str]

LONG = (".srt", ".vtt", ".edl", ".otio")
"""Kinds of files that programs write, of any length."""
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".aif", ".aiff")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
COLUMNS = {
    "file": "audio", "filename": "audio", "file name": "audio", "clip": "audio", "clip name": "audio",
    "source file": "audio", "in": "start", "tc in": "start", "start tc": "start", "record in": "start",
    "start time": "start", "out": "end", "tc out": "end", "end tc": "end", "record out": "end", "end time": "end",
    "source in": "audio_start",
}  # fmt: skip
"""What exports call the columns of a plan."""

_CUE = re.compile(r"([\d:.,]+)\s*-->\s*([\d:.,]+)")
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_EVENT = re.compile(
    r"(\d+)\s+(\S+)\s+(\S+)\s+(C|D|W\d+)(?:\s+\d+)?\s+(\S+:\S+)\s+(\S+:\S+)\s+(\S+:\S+)\s+(\S+:\S+)\s*", re.ASCII
)
_NAME = re.compile(r"\*\s*(?:FROM CLIP NAME|SOURCE FILE|CLIP NAME)\s*:\s*(.+)", re.IGNORECASE)


def subtitle_rows(path: Path, text: str) -> list[Row]:
    """One row for each cue of an SRT or WebVTT file.

    The speech of a cue is the file that its text names, else the one named by its number or identifier in the folder
    beside the file that has its name (`film.srt`: `film/12.wav`, `film/0012.wav`). The face is the picture beside the
    file that has the name of WebVTT's `<v Anna>`: `Anna.jpg`; where there is none, the one that `--face` chooses.

    Raises: ConfigError: a cue without a file.
    """
    rows: list[Row] = []
    for number, block in enumerate(re.split(r"\n\s*\n", text.replace("\r\n", "\n")), 1):
        lines = [line.strip() for line in block.strip().splitlines()]
        at = next((place for place, line in enumerate(lines) if _CUE.match(line)), None)
        if at is None:  # WebVTT's header, notes and styles
            continue
        found = _CUE.match(lines[at])
        assert found is not None
        name = lines[at - 1] if at else str(len(rows) + 1)
        words = "\n".join(lines[at + 1 :])
        speech = _spoken_file(path, name, words)
        if speech is None:
            fix = f"cue {name} (block {number}) has no sound: put {name}.wav into {path.stem}/, or take the cue out"
            raise ConfigError("plan", str(path), fix)
        start, end = found.groups()
        rows.append({"audio": speech, "start": start, "end": end, **_voice(path, words)})
    return rows


def _spoken_file(path: Path, name: str, words: str) -> str | None:
    for line in words.splitlines():
        named = re.sub(r"<[^>]*>", "", line).strip()
        if named.lower().endswith(SOUNDS) and _is_file(path.parent / named):
            return named
    folder = path.parent / path.stem
    stems = [name, *(name.zfill(width) for width in range(2, 6))] if name.isdecimal() else [name]
    for stem in dict.fromkeys(stems):
        for suffix in SOUNDS:
            if "/" not in stem and "\\" not in stem and _is_file(folder / f"{stem}{suffix}"):
                return f"{path.stem}/{stem}{suffix}"
    return None


def _voice(path: Path, words: str) -> Row:
    found = _VOICE.search(words)
    name = found[1].strip() if found is not None else ""
    if not name or "/" in name or "\\" in name:
        return {}
    picture = next((f"{name}{suffix}" for suffix in PICTURES if _is_file(path.parent / f"{name}{suffix}")), None)
    return {} if picture is None else {"face": picture}


def _is_file(path: Path) -> bool:
    return name_refused(path) is None and path.is_file()


def edl_rows(path: Path, text: str, fps: Fraction | None, first: str | None) -> list[Row]:
    """One row for each sound event of a CMX 3600 list whose clip name is a file beside it.

    Record times count from the video's own timecode, source times from the beginning of the file.

    Args:
        fps: of the video. first: timecode of its first frame, None = it counts from 0.
    Raises: ConfigError: a time that is none at this rate, an event without a file, or one before the video begins.
    """
    rows: list[Row] = []
    event: re.Match[str] | None = None
    for line in [*text.splitlines(), "999999 END"]:
        named = _NAME.match(line.strip())
        if named is not None and event is not None:
            rows.append(_event_row(path, event, named[1].strip(), fps, first))
            event = None
            continue
        if re.match(r"\d+\s", line.strip()):
            if event is not None:
                raise ConfigError("plan", str(path), f"event {event[1]}: name its file: * FROM CLIP NAME: line.wav")
            event = _EVENT.fullmatch(line.strip())
            if event is not None and not re.search(r"A|NONE", event[3].upper()):
                event = None  # picture only
    return rows


def _event_row(path: Path, event: re.Match[str], name: str, fps: Fraction | None, first: str | None) -> Row:
    if fps is None:
        raise ConfigError("plan", str(path), "its timecode needs the rate of a video")
    begins = Timecode.parse(first or "00:00:00:00", fps)
    labels = [Timecode.parse(label, fps) for label in event.groups()[4:]]
    if begins is None or any(label is None for label in labels):
        raise ConfigError("plan", str(path), f"event {event[1]}: write timecode of {round(fps)} frames a second")
    source, _, start, end = (label.frames for label in labels if label is not None)
    if start < begins.frames:
        raise ConfigError("plan", str(path), f"event {event[1]}: begins before the video, whose timecode is {first}")
    times = {"start": start - begins.frames, "end": end - begins.frames, "audio_start": source}
    return {"audio": name, **{key: str(Fraction(count) / fps) for key, count in times.items()}}


def otio_rows(path: Path) -> list[Row]:
    """One row for each clip of the sound tracks of an OpenTimelineIO file.

    A clip's or a track's metadata may say whose mouth moves: `{"latentsync": {"face": "left"}}`.

    Raises: MissingExtraError: `opentimelineio` is not installed. ConfigError: not readable, or a clip without a file.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise MissingExtraError("otio", "opentimelineio") from error
    try:
        timeline: Any = otio.adapters.read_from_file(str(path))
        tracks = list(timeline.audio_tracks())
    except Exception as error:  # its own kinds of errors, from C++
        raise ConfigError("plan", str(path), "not a timeline that OpenTimelineIO reads") from error
    rows = []
    for track in tracks:
        for clip in track.find_clips():
            url = getattr(clip.media_reference, "target_url", None)
            if not url:
                raise ConfigError("plan", str(path), f"clip {clip.name!r} has no file; link its media")
            span, own = clip.transformed_time_range(clip.trimmed_range(), timeline.tracks), clip.trimmed_range()
            available = clip.media_reference.available_range
            skipped = _seconds(own.start_time) - (_seconds(available.start_time) if available is not None else 0)
            start = _seconds(span.start_time)
            row = {"audio": _local(url), "start": str(start), "end": str(start + _seconds(span.duration))}
            face = _face(clip.metadata) or _face(track.metadata)
            rows.append({**row, "audio_start": str(skipped), **({"face": face} if face else {})})
    return rows


def _local(url: str) -> str:
    parts = urlparse(url)
    return unquote(parts.path) if parts.scheme == "file" else url


def _seconds(time: Any) -> Fraction:
    rate = Fraction(time.rate).limit_denominator(1001)
    return Fraction(time.value).limit_denominator(10**6) / rate


def _face(metadata: Mapping[str, Any]) -> str:
    own = metadata.get("latentsync", {})
    return str(own.get("face", "")) if hasattr(own, "get") else ""


def with_known_columns(rows: Sequence[Row]) -> list[Row]:
    """Rows of a CSV file with the columns of a plan, whatever an export calls them."""
    return [{COLUMNS.get(key.lower(), key.lower()): value for key, value in row.items()} for row in rows]
