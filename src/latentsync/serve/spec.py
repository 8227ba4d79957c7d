"""What a job is asked to do: checked when it is put in, made into options, a plan and paths when it is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.config.loader import preset_names, sync_options
from latentsync.config.options import SyncOptions
from latentsync.config.plan import Plan, PlanEntry, refuse_beside_plan
from latentsync.config.times import parse_time
from latentsync.core.errors import ConfigError
from latentsync.serve.files import FILE_ID

FACE = re.compile(r"largest|left|right|\d{1,4}|(?:\d*\.?\d+|\d+\.)(?:\s*,\s*(?:\d*\.?\d+|\d+\.)){1,3}")
CONTAINERS = ("mp4", "mov", "m4v", "mkv", "webm", "avi")
FILE_OPTIONS = ("face", "mix")
"""Options that may name a file."""
EXTRAS = ("preview", "strip", "report")
ENTRY_KEYS = ("audio", "face", "start", "end", "audio_start", "audio_track", "sound")
DRAFT_S = 5.0

Paths = Callable[[str], Path]
"""The place of a file by its number."""


def check_spec(spec: Mapping[str, Any]) -> None:
    """Whether a job can be run as it is asked for, as far as that can be told without its files.

    Args: spec: `video`, `audio` or `plan`, `options`, `preset`, `draft`, `container`, `extras`; files by their number.
    Raises: ConfigError: it names the setting.
    """
    if (spec.get("audio") is None) == (not spec.get("plan")):
        raise ConfigError("audio", spec.get("audio"), "give either audio or a plan of several speeches")
    if spec.get("preset") is not None and spec["preset"] not in preset_names():
        raise ConfigError("preset", spec["preset"], f"choose one of {', '.join(preset_names())}")
    if spec.get("container") is not None and spec["container"] not in CONTAINERS:
        raise ConfigError("container", spec["container"], f"choose one of {', '.join(CONTAINERS)}")
    for extra in spec.get("extras") or ():
        if extra not in EXTRAS:
            raise ConfigError("extras", extra, f"choose of {', '.join(EXTRAS)}")
    if spec.get("plan") and "report" in (spec.get("extras") or ()):
        raise ConfigError("extras", "report", "leave it out: the page scores one speech, a plan has several")
    options = options_of(spec, Path)
    if spec.get("plan"):
        refuse_beside_plan(options)
        plan_of(spec, Path)


def file_ids(spec: Mapping[str, Any]) -> list[str]:
    """Numbers of all files that a job needs, each once."""
    options = spec.get("options") or {}
    faces = [*(options.get(key) for key in FILE_OPTIONS), *(entry.get("face") for entry in spec.get("plan") or ())]
    wanted = [spec.get("video"), spec.get("audio"), *(entry["audio"] for entry in spec.get("plan") or ()), *faces]
    return list(dict.fromkeys(each for each in wanted if isinstance(each, str) and FILE_ID.fullmatch(each)))


def options_of(spec: Mapping[str, Any], paths: Paths) -> SyncOptions:
    """The options of a job's run; of a draft those of its few seconds. Raises: ConfigError."""
    given = dict(spec.get("options") or {})
    if given.get("face") is not None:
        given["face"] = _face(given["face"], paths)
    if given.get("mix") is not None:
        given["mix"] = _uploaded("mix", given["mix"], paths)
    draft = spec.get("draft")
    options = sync_options(spec.get("preset"), {key: value for key, value in given.items() if value is not None})
    return options if not draft else _shortened(options, draft, bool(spec.get("plan")))


def _shortened(options: SyncOptions, draft: Mapping[str, Any], has_plan: bool) -> SyncOptions:
    """A few seconds of the result: the same seconds of video and speech."""
    skip_s = Fraction(str(draft.get("start_s", 0)))
    seconds = Fraction(str(draft.get("seconds", DRAFT_S)))
    if skip_s < 0 or not 0 < seconds <= 60:
        raise ConfigError("draft", float(seconds), "choose a start of 0 s or more, and up to 60 seconds")
    start_s = (options.start_s or 0) + skip_s
    end_s = start_s + seconds if options.end_s is None else min(options.end_s, start_s + seconds)
    if has_plan:
        return replace(options, start_s=start_s, end_s=end_s)
    heard_s = (options.audio_start_s or 0) + skip_s
    return replace(options, start_s=start_s, end_s=end_s, audio_start_s=heard_s or None, length="video")


def plan_of(spec: Mapping[str, Any], paths: Paths) -> Plan | None:
    """Raises: ConfigError: see `Plan`; a key or a value that no entry has."""
    if not spec.get("plan"):
        return None
    return Plan(tuple(_entry(entry, number, paths) for number, entry in enumerate(spec["plan"], 1)), "plan")


def _entry(entry: Mapping[str, Any], number: int, paths: Paths) -> PlanEntry:
    for key in entry:
        if key not in ENTRY_KEYS:
            raise ConfigError(f"plan.{key}", entry[key], f"entry {number}: choose one of {', '.join(ENTRY_KEYS)}")
    try:
        values: dict[str, Any] = {
            f"{key}_s": _moment(key, entry[key]) for key in ("start", "end", "audio_start") if entry.get(key)
        }
        face = None if entry.get("face") is None else _face(entry["face"], paths)
        more: dict[str, Any] = {key: entry[key] for key in ("audio_track", "sound") if entry.get(key) is not None}
        return PlanEntry(audio=paths(entry["audio"]), face=face, **values, **more)
    except ConfigError as error:
        raise ConfigError(f"plan.{error.key}", error.value, f"entry {number}: {error.fix}") from error


def _moment(key: str, value: object) -> Fraction:
    return parse_time(key, value) if isinstance(value, str) else Fraction(str(value))


def _face(word: object, paths: Paths) -> str:
    """A face's word; a picture only as an uploaded file, never as a path of the service's machine."""
    text = str(word).strip()
    if FILE_ID.fullmatch(text):
        return _uploaded("face", text, paths)
    if not FACE.fullmatch(text):
        fix = "choose largest, left, right, an index, x,y, x,y,w,h or the number of an uploaded picture"
        raise ConfigError("face", text, fix)
    return text


def _uploaded(key: str, value: object, paths: Paths) -> str:
    """The place of an upload; a path of the service's machine is never taken."""
    if not isinstance(value, str) or not FILE_ID.fullmatch(value):
        raise ConfigError(key, value, "give the number of an uploaded file")
    return str(paths(value))


def expected_frames(spec: Mapping[str, Any], video: Mapping[str, Any], audio_s: float | None) -> float | None:
    """Frames of the result, roughly; None = not known.

    Args: video: `duration_s` and `fps`. audio_s: of the speech.
    """
    fps, whole_s = video.get("fps"), video.get("duration_s")
    if not fps or whole_s is None:
        return None
    options = options_of(spec, Path)
    start_s, end_s = float(options.start_s or 0), min(float(options.end_s or whole_s), whole_s)
    own_s = max(0.0, end_s - start_s)
    if audio_s is None or options.length == "video":
        return float(own_s * fps)
    heard_s = max(0.0, audio_s - float(options.audio_start_s or 0))
    return float(fps * (heard_s if options.length in (None, "audio") else max(own_s, heard_s)))


def result_suffix(spec: Mapping[str, Any], video_suffix: str) -> str:
    """The kind of file that is written: the one asked for, that of the video, or .mp4."""
    if spec.get("container"):
        return f".{spec['container']}"
    return video_suffix if video_suffix.removeprefix(".") in CONTAINERS else ".mp4"


def webhook_urls(spec: Mapping[str, Any]) -> Sequence[str]:
    return [spec["webhook_url"]] if spec.get("webhook_url") else []
