"""What the service is and how it fares: `/v1/about`, sessions, inspection, plans, health and metrics."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from latentsync.config.loader import preset_names
from latentsync.config.options import SyncOptions
from latentsync.core.errors import LatentSyncError
from latentsync.core.files import temporary_folder
from latentsync.serve import looking
from latentsync.serve.context import COOKIE, ApiError, Owner, Serv, Service, known
from latentsync.serve.intake import check_kinds, frames_of
from latentsync.serve.keys import SESSION_S
from latentsync.serve.metrics import metrics_text
from latentsync.serve.shapes import Inspect

PLANS = (".yaml", ".yml", ".json", ".csv", ".srt", ".vtt", ".edl", ".otio")
router = APIRouter()


def choices() -> dict[str, list[str]]:
    """Options that take one word of several, with the words."""
    found = {}
    for key, hint in get_type_hints(SyncOptions).items():
        words = [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]
        if words:
            found[key] = words
    return found


@router.get("/v1/about", tags=["service"], summary="Version, models, limits, defaults")
def about(request: Request, service: Serv) -> dict[str, Any]:
    from latentsync import __version__

    config = service.config
    signed_in = not config.needs_key or known(request, service) is not None
    open_facts = {"version": __version__, "auth": "key" if config.needs_key else "none", "signed_in": signed_in}
    if not signed_in:
        return open_facts
    counts = service.queries.counts()
    return open_facts | {
        "models": config.model_names,
        "presets": list(preset_names()),
        "limits": {
            "upload_bytes": config.upload_bytes, "video_s": config.video_s, "pixels": config.pixels,
            "queued": config.queued,
        },
        "urls": config.urls,
        "options": asdict(SyncOptions()),
        "choices": choices(),
        "queue": {
            "queued": counts.get("queued", 0) + counts.get("fetching", 0), "running": counts.get("running", 0),
            "workers": service.queries.num_workers(),
        },
    }  # fmt: skip


@router.post("/v1/session", status_code=204, tags=["service"], summary="A cookie in place of the key, for a page")
def sign_in(request: Request, service: Serv, owner: Owner) -> Response:
    answer = Response(None, 204)
    if service.config.needs_key:
        secure = request.url.scheme == "https" or (service.config.public_url or "").startswith("https")
        value = service.keys.session(owner)
        answer.set_cookie(COOKIE, value, SESSION_S, httponly=True, samesite="strict", secure=secure)
    return answer


@router.delete("/v1/session", status_code=204, tags=["service"], summary="Forget the cookie")
def sign_out() -> Response:
    answer = Response(None, 204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.post("/v1/inspect", tags=["files"], summary="Faces, lengths and warnings before a job")
async def inspect(body: Inspect, service: Serv, owner: Owner) -> dict[str, Any]:
    rows = await run_in_threadpool(_rows, service, owner, body)
    video, audio = rows[body.video], rows.get(body.audio or "")
    asked = (video["sha256"], audio and audio["sha256"], body.audio_track, video["name"], audio and audio["name"])
    found = service.inspected.get(asked)
    if found is None:
        names = {str(service.files.path_of(row)): row["name"] for row in rows.values()}
        path = None if audio is None else service.files.path_of(audio)
        more = body.audio_track, service.config.face_model, service.config.offline, names
        try:
            found = await service.looker(looking.inspect, service.files.path_of(video), path, *more)
        except LatentSyncError as error:
            text = str(error)
            for long, short in names.items():
                text = text.replace(long, short)
            raise ApiError(422, "invalid", text) from error
        if len(service.inspected) >= 500:
            service.inspected.clear()
        service.inspected[asked] = found
    frame = found["frame"] | {"url": f"/v1/files/{body.video}/frame?t={found['frame']['time_s']}"}
    return found | {"frame": frame, "expected": await run_in_threadpool(_expected, service, body, rows)}


def _rows(service: Service, owner: str, body: Inspect) -> dict[str, dict[str, Any]]:
    rows = {}
    for file_id in (body.video, body.audio):
        row = None if file_id is None else service.files.get(file_id, owner)
        if file_id is not None and (row is None or row["sha256"] is None):
            raise ApiError(422, "invalid", f"{file_id}: there is no such file, or not all of it", "video")
        if file_id is not None and row is not None:
            rows[file_id] = row
    check_kinds(service, {"video": body.video, "audio": body.audio}, rows)
    return rows


def _expected(service: Service, body: Inspect, rows: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Frames, seconds and memory that a run of this will take, from jobs that were run here; None = not known."""
    speed = service.queries.speed(body.model or service.config.model_names[0])
    if speed is None:
        return None
    spec = {"video": body.video, "audio": body.audio, "options": body.options}
    try:
        frames = frames_of(spec, rows)
    except LatentSyncError:
        frames = None
    if frames is None:
        return None
    return {
        "frames": round(frames), "seconds": frames / speed.frames_per_s, "frames_per_s": speed.frames_per_s,
        "peak_memory_gib": speed.peak_memory_gib,
    }  # fmt: skip


@router.post("/v1/plan/parse", tags=["files"], summary="Read a plan file")
async def parse_plan(
    request: Request, owner: Owner, name: Annotated[str, Query(max_length=200)] = "plan.csv"
) -> dict[str, Any]:
    suffix = "." + name.rpartition(".")[2].lower()
    if suffix not in PLANS:
        raise ApiError(422, "invalid", f"name it {', '.join(PLANS)}", "name")
    return await asyncio.to_thread(_parsed, await request.body(), suffix)


def _parsed(text: bytes, suffix: str) -> dict[str, Any]:
    from latentsync.config.plan import load_plan

    with temporary_folder() as folder:
        path = folder / f"plan{suffix}"
        path.write_bytes(text)
        try:
            plan = load_plan(path)
        except LatentSyncError as error:
            words = str(error).replace(str(path), "plan").replace(f"{folder}/", "")
            raise ApiError(422, "invalid", words, "plan") from error
        return {
            "entries": [
                {
                    "audio": str(entry.audio).replace(f"{folder}/", ""), "face": entry.face,
                    "start": float(entry.start_s), "end": None if entry.end_s is None else float(entry.end_s),
                    "audio_start": float(entry.audio_start_s), "audio_track": entry.audio_track, "sound": entry.sound,
                }
                for entry in plan.entries
            ]
        }  # fmt: skip


class Health(BaseModel):
    """`status` is "ok", or "no worker" with status 503."""

    status: str
    workers: int
    queued: int


UNWELL: Any = {503: {"model": Health}}


@router.get(
    "/healthz", tags=["service"], summary="Whether jobs are being worked on", response_model=Health, responses=UNWELL
)
def health(service: Serv) -> Response:
    workers, counts = service.queries.num_workers(), service.queries.counts()
    words = {"status": "ok" if workers else "no worker", "workers": workers, "queued": counts.get("queued", 0)}
    return Response(json.dumps(words), 200 if workers else 503, media_type="application/json")


@router.get("/metrics", tags=["service"], summary="Prometheus metrics", response_class=PlainTextResponse)
def metrics(service: Serv, owner: Owner) -> Response:
    return Response(metrics_text(service.queries), media_type="text/plain; version=0.0.4")
