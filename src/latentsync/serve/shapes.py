"""JSON that goes in and out of `/v1`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from latentsync.serve.spec import DRAFT_S

Number = float | int
FileId = Annotated[str, StringConstraints(pattern=r"^file_[0-9a-f]{20}$")]
Scalar = str | float | int | bool | None
SHOWN_STATES = {"fetching": "queued"}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UrlInput(_Shape):
    """A file that the service downloads (`latentsync serve --urls`)."""

    url: Annotated[str, StringConstraints(max_length=4000)]


class Entry(_Shape):
    """One speech of a plan; times in seconds or as "1:02.5"."""

    audio: FileId | UrlInput
    face: str | None = None
    start: float | str | None = None
    end: float | str | None = None
    audio_start: float | str | None = None
    audio_track: str | None = None
    sound: Literal["replace", "mix"] | None = None


class Draft(_Shape):
    """A few seconds of the result, to look at before the whole."""

    start_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    seconds: Annotated[float, Field(gt=0, le=60)] = DRAFT_S


class JobRequest(_Shape):
    """A job: a video with one speech, or with a plan of several."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "video": "file_0123456789abcdef0123",
                    "audio": "file_fedcba98765432100123",
                    "options": {"face": "largest", "length": "audio"},
                }
            ]
        },
    )
    video: FileId | UrlInput
    audio: FileId | UrlInput | None = None
    plan: Annotated[list[Entry], Field(max_length=1000)] | None = None
    options: dict[str, Scalar] = Field(default={}, description="Any field of `SyncOptions`, see docs/usage.md.")
    preset: str | None = None
    model: str | None = None
    draft: Draft | bool | None = None
    priority: Annotated[StrictInt, Field(ge=-10, le=10)] = 0
    name: Annotated[str, StringConstraints(max_length=200)] | None = None
    container: str | None = None
    extras: Annotated[list[str], Field(max_length=8)] = ["preview", "strip"]
    webhook_url: Annotated[str, StringConstraints(max_length=4000)] | None = None
    metadata: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1000)]], Field(max_length=32)] = {}


class Inspect(_Shape):
    video: FileId
    audio: FileId | None = None
    audio_track: str | None = None
    options: dict[str, Scalar] = {}
    model: str | None = None


class Priority(_Shape):
    priority: Annotated[StrictInt, Field(ge=-10, le=10)]


class ErrorWords(BaseModel):
    code: str
    message: str
    setting: str | None = None


class ErrorAnswer(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorWords


class FileAnswer(BaseModel):
    id: str
    name: str
    size: int
    sha256: str | None
    complete: bool
    kind: str | None
    duration_s: float | None
    width: int | None
    height: int | None
    fps: float | None
    created_at: str
    expires_at: str | None


class FileList(BaseModel):
    files: list[FileAnswer]


class JobAnswer(BaseModel):
    """One job."""

    model_config = ConfigDict(extra="allow")
    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    name: str
    model: str
    priority: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    attempt: int
    place: int | None
    eta_s: float | None
    cancelling: bool
    progress: dict[str, Any] | None
    error: ErrorWords | None
    warnings: list[str]
    result: dict[str, Any] | None


class JobList(BaseModel):
    jobs: list[JobAnswer]
    next: str | None


def when(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_json(row: Mapping[str, Any], keep_s: float | None) -> dict[str, Any]:
    info = json.loads(row["info"]) if row["info"] else {}
    return {
        "id": row["id"], "name": row["name"], "size": row["size"], "sha256": row["sha256"],
        "complete": row["sha256"] is not None, "kind": info.get("kind"),
        **{key: info.get(key) for key in ("duration_s", "width", "height", "fps")},
        "created_at": when(row["created_at"]),
        "expires_at": when(None if keep_s is None else row["used_at"] + keep_s),
    }  # fmt: skip


def job_json(
    row: Mapping[str, Any],
    names: Mapping[str, str],
    place: tuple[int | None, float | None],
    hooks: Sequence[Mapping[str, Any]] = (),
    keep_s: float | None = None,
) -> dict[str, Any]:
    """A job as its owner sees it. Args: names: of its files, by number."""
    spec = json.loads(row["spec"])

    def short(file: Any) -> dict[str, Any] | None:
        if not isinstance(file, str):
            return None if file is None else {"id": None, "name": str(file.get("url", ""))}
        return {"id": file, "name": names.get(file, "")}

    ended = row["finished_at"]
    plan = spec.get("plan")
    return {
        "id": row["id"], "state": SHOWN_STATES.get(row["state"], row["state"]), "name": row["name"],
        "video": short(spec["video"]), "audio": short(spec.get("audio")),
        "plan": None if not plan else [entry | {"audio": short(entry["audio"])} for entry in plan],
        "options": spec.get("options") or {}, "preset": spec.get("preset"), "model": row["model"],
        "draft": spec.get("draft"), "priority": row["priority"], "metadata": spec.get("metadata") or {},
        "container": spec.get("container"), "extras": spec.get("extras") or [], "batch": row["batch"],
        "created_at": when(row["created_at"]), "started_at": when(row["started_at"]), "finished_at": when(ended),
        "expires_at": when(ended + keep_s) if ended and keep_s else None, "attempt": row["attempt"],
        "place": place[0], "eta_s": place[1], "cancelling": bool(row["cancelling"]) and ended is None,
        "progress": _progress(row), "error": json.loads(row["error"]) if row["error"] else None,
        "warnings": json.loads(row["warnings"]) if row["warnings"] else [], "result": _result(row),
        "webhooks": [_hook(each) for each in hooks],
    }  # fmt: skip


def _progress(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["state"] == "fetching":
        empty = {"done": 0, "total": None, "unit": "bytes", "share": None, "frames_per_s": None, "eta_s": None}
        return {"stage": "fetch"} | empty
    return json.loads(row["progress"]) if row["progress"] else None


def _result(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A finished job's facts, with addresses instead of files."""
    if not row["result"]:
        return None
    facts = json.loads(row["result"])
    made, base = facts.pop("files"), f"/v1/jobs/{row['id']}"
    for key in ("file", "try", "warnings"):
        facts.pop(key, None)
    urls = {f"{name}_url": f"{base}/{name}" if name in made else None for name in PICTURES}
    return {"url": f"{base}/result", "scores": None} | facts | urls


PICTURES = ("preview", "before", "strip", "thumbnail", "report")


def _hook(row: Mapping[str, Any]) -> dict[str, Any]:
    from urllib.parse import urlsplit

    return {
        "url_host": urlsplit(row["url"]).hostname, "event": row["event"], "attempt": row["attempt"],
        "status": row["status"], "at": when(row["tried_at"]), "error": row["error"],
        "over": row["next_at"] is None,
    }  # fmt: skip
