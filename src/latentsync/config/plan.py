"""A plan: one speech per person and range of time, for films in which several people speak. Files become checked plans.

Every value is read as text, whatever the file: `start: 1:02` stays a time and `face: 0` a face.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import yaml

from latentsync.config import timelines
from latentsync.config.checked import refuse_unknown
from latentsync.config.options import SyncOptions, check_number, checked_track
from latentsync.config.times import parse_time
from latentsync.config.yaml_text import parse_yaml
from latentsync.core.errors import ConfigError, MediaError, shown
from latentsync.core.reading import LIST_BYTES, SETTINGS_BYTES, name_refused, parse_json, read_text
from latentsync.core.time import as_written

Under = Literal["replace", "mix"]
KEYS = ("audio", "face", "start", "end", "audio_start", "audio_track", "sound")
"""What an entry of a file may say; only `audio` has to be there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanEntry:
    """One speech of one person.

    Attributes:
        audio: file with the speech.
        face: whose mouth, as `SyncOptions.face`; None = that option. Chosen in the first frames of the range.
        start_s: seconds of the video at which the speech begins.
        end_s: where it ends, the first moment that is left alone again; None = with the speech or the video.
        audio_start_s: seconds of the speech that are left out at its beginning.
        audio_track: of the speech's sound tracks, as `SyncOptions.audio_track`.
        sound: "replace" = the video's own sound is silent in the range; "mix" = the speech is laid over it.
    Floats are taken as they are written: 0.4 s is 2/5 s.

    Raises: ConfigError: a time is no number.
    """

    audio: Path
    face: str | None = None
    start_s: Fraction = Fraction(0)
    end_s: Fraction | None = None
    audio_start_s: Fraction = Fraction(0)
    audio_track: str | None = None
    sound: Under = "replace"

    def __post_init__(self) -> None:
        object.__setattr__(self, "audio_track", checked_track(self.audio_track))
        for key in ("start_s", "end_s", "audio_start_s"):
            value = getattr(self, key)
            check_number(key, value)
            if value is not None:
                object.__setattr__(self, key, as_written(value))

    @property
    def words(self) -> str:
        """For messages: which file in which range."""
        end = "the end" if self.end_s is None else f"{float(self.end_s):g} s"
        return f"{self.audio.name} from {float(self.start_s):g} s to {end}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said in a film, in the order of the beginnings.

    Raises: ConfigError: no entries, a range that ends before it begins, two entries for one face at one time.
    """

    entries: tuple[PlanEntry, ...]
    name: str = "plan"

    def __post_init__(self) -> None:
        if not self.entries:
            raise ConfigError("plan", self.name, "is empty; write one entry per speech: audio, face, start, end")
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.start_s)))
        for entry in self.entries:
            if entry.sound not in get_args(Under):
                raise ConfigError("plan", self.name, f"{entry.words}: choose sound of {', '.join(get_args(Under))}")
            if min(entry.start_s, entry.audio_start_s) < 0:
                raise ConfigError("plan", self.name, f"{entry.words}: choose times of 0 s or more")
            if entry.end_s is not None and entry.end_s <= entry.start_s:
                raise ConfigError("plan", self.name, f"{entry.words}: choose an end after the start")
        for own in self.by_face().values():
            for first, second in pairwise(own):
                if first.end_s is not None and second.start_s < first.end_s:
                    face = "this face" if first.face is None else f"face {first.face}"
                    raise ConfigError(
                        "plan", self.name, f"{face} cannot say two things at once: {first.words}, {second.words}"
                    )

    def by_face(self) -> dict[str | None, list[PlanEntry]]:
        """Each face with its entries in order; faces in order of appearance."""
        out: dict[str | None, list[PlanEntry]] = {}
        for entry in self.entries:
            out.setdefault(entry.face, []).append(entry)
        return out


def refuse_beside_plan(options: SyncOptions) -> None:
    """Raises: ConfigError: a length that is not the video's, or a start of the speech, was asked for beside a plan."""
    if options.length not in (None, "video"):
        raise ConfigError("length", options.length, "leave it out: with a plan the result is as long as the video")
    if options.audio_start_s is not None:
        start = float(options.audio_start_s)
        raise ConfigError("audio_start_s", start, "leave it out: the entries of a plan have an audio_start each")


def load_plan(path: Path, fps: Fraction | None = None, timecode: str | None = None) -> Plan:
    """Read a plan from .yaml, .yml, .json (a list of entries, or one under the key `entries`), .csv (with a header), or
    from what `config.timelines` reads: .srt, .vtt, .edl, .otio.

    Relative paths in it are taken from the plan's own folder.

    Args:
        fps: of the video, for times like 00:01:02:12 whose last number counts frames (not drop-frame).
        timecode: of the video's first frame, from which an edit decision list counts.
    Raises: ConfigError: not readable, an unknown key, a wrong value, see `Plan`.
    """
    entries = []
    for number, row in enumerate(_rows(path, fps, timecode), 1):
        given = {key: value for key, value in row.items() if value != ""}
        try:
            entries.append(_entry(given, path.parent, fps))
        except ConfigError as error:
            raise ConfigError(
                "plan", str(path), f"entry {number}: {shown(error.key)} {shown(error.value)}: {error.fix}"
            ) from error
    return Plan(tuple(entries), str(path))


def _entry(given: Mapping[str, str], folder: Path, fps: Fraction | None) -> PlanEntry:
    refuse_unknown(given, KEYS)
    if "audio" not in given:
        raise ConfigError("audio", "", "missing; name the file with the speech")
    entry = PlanEntry(audio=folder / given["audio"])
    times = {f"{key}_s": _moment(key, given[key], fps) for key in ("start", "end", "audio_start") if key in given}
    entry = replace(entry, audio_track=given.get("audio_track"), **times)  # type: ignore[arg-type]
    if "face" in given:
        picture = folder / given["face"]
        is_file = bool(picture.suffix) and name_refused(picture) is None and picture.is_file()
        entry = replace(entry, face=str(picture) if is_file else given["face"])
    return replace(entry, sound=given["sound"]) if "sound" in given else entry  # type: ignore[arg-type]


def _moment(key: str, text: str, fps: Fraction | None) -> Fraction:
    """Seconds from what `parse_time` takes, with a comma for the point too, or from hours:minutes:seconds:frames."""
    head, _, frames = text.rpartition(":")
    if head.count(":") != 2:
        return parse_time(key, text.replace(",", "."))
    if fps is None or not frames.isdecimal() or len(frames) > 4 or int(frames) >= round(fps):
        raise ConfigError(key, text, "write hours:minutes:seconds:frames with frames below the video's rate")
    return (parse_time(key, head) * round(fps) + int(frames)) / fps


def _rows(path: Path, fps: Fraction | None, timecode: str | None) -> Sequence[Mapping[str, str]]:
    """The entries of a file with all values as text."""
    try:
        text = read_text(path, LIST_BYTES if path.suffix.lower() in timelines.LONG else SETTINGS_BYTES)
    except MediaError as error:
        raise ConfigError("plan", str(path), str(error).removeprefix(f"{path}: ")) from error
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            found: object = timelines.with_known_columns(_csv_rows(path, text))
        elif suffix in (".srt", ".vtt"):
            found = timelines.subtitle_rows(path, text)
        elif suffix == ".edl":
            found = timelines.edl_rows(path, text, fps, timecode)
        elif suffix == ".otio":
            found = timelines.otio_rows(path)
        elif suffix == ".json":
            found = parse_json(text, parse_float=str, parse_int=str)
        elif suffix in (".yaml", ".yml"):
            found = parse_yaml(text, yaml.BaseLoader)
        else:
            raise ConfigError("plan", str(path), "name it .yaml, .json, .csv, .srt, .vtt, .edl or .otio")
    except (csv.Error, ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = getattr(error, "lineno", None) if mark is None else mark.line + 1
        where = f" at line {line}" if line else ""
        raise ConfigError("plan", str(path), f"not valid {suffix.removeprefix('.').upper()}{where}") from error
    if isinstance(found, dict) and set(found) == {"entries"}:
        found = found["entries"]
    if not isinstance(found, list):
        raise ConfigError("plan", str(path), "write a list of entries, each with audio, face, start, end")
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict) or not all(isinstance(word, str) for pair in row.items() for word in pair):
            raise ConfigError("plan", str(path), f"entry {number}: write 'key: value' pairs, each with one value")
    return found


def _csv_rows(path: Path, text: str) -> list[dict[str, str]]:
    """Rows under the header; columns and rows without a word in them, as spreadsheets leave them, are passed over."""
    lines, rows = text.splitlines(), list[dict[str, str]]()
    comma = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","  # where the decimal sign is a comma
    for row in csv.DictReader(lines, restkey=None, restval="", strict=True, delimiter=comma):
        number = len(rows) + 1
        if any(value.strip() for value in row.pop(None, ())):  # type: ignore[call-overload]
            raise ConfigError("plan", str(path), f'entry {number}: too many values; quote a face like "640,360"')
        named = {key.strip(): value.strip() for key, value in row.items()}
        if nameless := named.pop("", ""):
            raise ConfigError("plan", str(path), f"entry {number}: {nameless!r} stands in a column without a name")
        if any(named.values()):
            rows.append(named)
    return rows
