"""A request becomes a job: its files are looked up, its limits kept, its settings checked before it waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from latentsync.core.errors import ConfigError
from latentsync.serve.context import ApiError, Service
from latentsync.serve.fetching import check_url
from latentsync.serve.files import FILE_ID, clean_name
from latentsync.serve.spec import check_spec, expected_frames, file_ids
from latentsync.serve.uploads import check_limits


def put_in(
    service: Service,
    owner: str,
    spec: dict[str, Any],
    *,
    model: str | None,
    priority: int = 0,
    name: str | None = None,
    door: str = "v1",
    key: str | None = None,
    fingerprint: str | None = None,
) -> tuple[Mapping[str, Any], bool]:
    """Check a job and put it into the queue.

    Args: key: the request's idempotency key. fingerprint: of the request, which has to be the same for the same key.
    Returns: the job, and whether it is new.
    Raises: ApiError. LatentSyncError: see `check_spec`, `JobStore.submit`.
    """
    config = service.config
    model = model or config.model_names[0]
    if model not in config.model_names:
        raise ConfigError("model", model, f"choose one of {', '.join(config.model_names)}")
    wanted = list(_inputs(spec))
    remote = [each["url"] for _, each in wanted if isinstance(each, dict)]
    if remote and not config.urls:
        words = "this service takes no web addresses as inputs; upload the files"
        raise ApiError(422, "invalid", words, next(key for key, each in wanted if isinstance(each, dict)))
    for url in [*remote, *([spec["webhook_url"]] if spec.get("webhook_url") else [])]:
        check_url(url, config)
    check_spec(_with_stand_ins(spec))
    rows = {file_id: _file(service, owner, file_id) for file_id in file_ids(spec)}
    check_kinds(service, spec, rows)
    service.files.touch(list(rows))
    if not remote:
        spec = settled(spec, rows)
    frames = None if remote else frames_of(spec, rows)
    return service.store.submit(
        owner=owner, name=clean_name(name or default_name(spec, rows)), model=model, spec=spec, priority=priority,
        door=door, expected_frames=frames, fetching=bool(remote), key=key, key_hash=fingerprint,
        most_queued=config.queued,
    )  # fmt: skip


def fingerprint_of(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _inputs(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "video", spec["video"]
    if spec.get("audio") is not None:
        yield "audio", spec["audio"]
    for entry in spec.get("plan") or ():
        yield "plan", entry["audio"]


def _with_stand_ins(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same job as if what is still to be downloaded were there."""
    there = "file_" + 20 * "0"

    def file(each: Any) -> Any:
        return there if isinstance(each, dict) else each

    plan = [entry | {"audio": file(entry["audio"])} for entry in spec.get("plan") or ()]
    return dict(spec) | {"video": file(spec["video"]), "audio": file(spec.get("audio")), "plan": plan or None}


def _file(service: Service, owner: str, file_id: str) -> dict[str, Any]:
    row = service.files.get(file_id, owner)
    if row is None:
        raise ApiError(422, "invalid", f"{file_id}: there is no such file. Upload it first", "file")
    if row["sha256"] is None:
        raise ApiError(409, "conflict", f"{row['name']}: the upload is not complete yet")
    return row


def check_kinds(service: Service, spec: Mapping[str, Any], rows: Mapping[str, dict[str, Any]]) -> None:
    """Raises: ApiError: a file is not what it is used as, or larger than the limits."""
    for key, each in _inputs(spec):
        if not isinstance(each, str):
            continue
        row = rows[each]
        info = json.loads(row["info"] or "{}")
        if key == "video" and info.get("kind") not in ("video", "image"):
            reason = info.get("reason") or "there is no video in it that can be read"
            raise ApiError(422, "invalid", f"{row['name']}: {reason}", "video")
        if key != "video" and info.get("kind") != "audio" and not info.get("has_audio"):
            reason = info.get("reason") or "there is no sound in it that can be read"
            raise ApiError(422, "invalid", f"{row['name']}: {reason}", key)
        check_limits(service, row, info)
    face = (spec.get("options") or {}).get("face")
    if isinstance(face, str) and FILE_ID.fullmatch(face):
        row = rows[face]
        if json.loads(row["info"] or "{}").get("kind") != "image":
            raise ApiError(422, "invalid", f"{row['name']}: is no picture", "face")


def settled(spec: dict[str, Any], rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`shorter`, a length that needs both files to be known, as one of ours: the shorter of video and speech."""
    if not spec.get("shorter") or not spec.get("audio"):
        return spec
    video, speech = (json.loads(rows[spec[key]]["info"] or "{}") for key in ("video", "audio"))
    video_s, speech_s = video.get("duration_s"), speech.get("audio_s") or speech.get("duration_s")
    is_longer = video_s is not None and speech_s is not None and speech_s > video_s
    return spec | {"options": spec["options"] | {"length": "video" if is_longer else "audio"}}


def frames_of(spec: Mapping[str, Any], rows: Mapping[str, dict[str, Any]]) -> float | None:
    video = json.loads(rows[spec["video"]]["info"] or "{}")
    speech = json.loads(rows[spec["audio"]]["info"] or "{}") if spec.get("audio") else {}
    return expected_frames(spec, video, speech.get("audio_s") or speech.get("duration_s"))


def default_name(spec: Mapping[str, Any], rows: Mapping[str, dict[str, Any]]) -> str:
    """video-speech, as their users call them."""
    words = [rows[each]["name"] if isinstance(each, str) else "download" for _, each in _inputs(spec)][:2]
    if spec.get("plan"):
        words[1:] = ["plan"]
    return "-".join(word.rpartition(".")[0] or word for word in words)
