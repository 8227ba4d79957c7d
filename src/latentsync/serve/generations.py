"""`/v2`: the same jobs in the shape of sync.so's interface, for programs that were written for it.

Source: docs.sync.so, and the requests and answers of the SDK `syncsdk`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from latentsync.core.errors import ConfigError
from latentsync.serve.context import ApiError, Owner, Serv, Service, not_found
from latentsync.serve.files import FILE_ID, JOB_ID
from latentsync.serve.intake import fingerprint_of, put_in
from latentsync.serve.shapes import when


class Refused(BaseModel):
    """Their shape of an error."""

    statusCode: float
    message: str
    error: str


REFUSED: Any = {400: {"model": Refused}, "4XX": {"model": Refused}, "5XX": {"model": Refused}}
router = APIRouter(prefix="/v2", tags=["sync.so"], responses=REFUSED)
STATUS = {
    "fetching": "PENDING", "queued": "PENDING", "running": "PROCESSING", "done": "COMPLETED", "failed": "FAILED",
    "cancelled": "REJECTED",
}  # fmt: skip
LENGTHS = {"bounce": "ping_pong", "loop": "loop", "silence": "video"}
CODES = {"no_face": "generation_input_face_not_found", "media": "generation_input_media_invalid",
         "config": "generation_input_validation_failed"}  # fmt: skip
OWN_FILE = re.compile(r"/v1/files/(file_[0-9a-f]{20})(?:/content)?")
Key = Annotated[str | None, Header(max_length=255)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Provider(_Open):
    name: str | None = None


class Input(_Open):
    type: Literal["video", "audio", "image", "text"]
    url: str | None = Field(default=None, max_length=4000)
    assetId: str | None = Field(default=None, max_length=100)
    refId: str | None = Field(default=None, max_length=100)
    provider: Provider | None = None


class Speaker(_Open):
    auto_detect: bool | None = None
    frame_number: int | None = None
    coordinates: list[float] | None = Field(default=None, max_length=2, min_length=2)
    bounding_boxes: list[list[float] | None] | None = Field(default=None, max_length=1_000_000)
    bounding_boxes_url: str | None = None


class Options(_Open):
    """`latentsync` holds further settings of ours: any field of SyncOptions, and `preset`."""

    sync_mode: Literal["bounce", "loop", "cut_off", "silence", "remap"] | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    active_speaker_detection: Speaker | None = None
    occlusion_detection_enabled: bool | None = None
    model_mode: str | None = None
    prompt: str | None = None
    latentsync: dict[str, str | float | int | bool | None] | None = None


class SegmentAudio(_Open):
    refId: str
    startTime: float | None = Field(default=None, ge=0)
    endTime: float | None = Field(default=None, ge=0)


class Segment(_Open):
    startTime: float = Field(ge=0)
    endTime: float = Field(gt=0)
    audioInput: SegmentAudio


class Generate(_Open):
    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "lipsync-2",
                    "input": [
                        {"type": "video", "assetId": "file_0123456789abcdef0123"},
                        {"type": "audio", "assetId": "file_fedcba98765432100123"},
                    ],
                    "options": {"sync_mode": "cut_off"},
                }
            ]
        },
    )
    model: str = Field(max_length=200)
    input: list[Input] = Field(min_length=1, max_length=100)
    options: Options | None = None
    segments: list[Segment] | None = Field(default=None, max_length=1000)
    webhookUrl: str | None = Field(default=None, max_length=4000)
    outputFileName: str | None = Field(default=None, max_length=255)


@router.post("/generate", status_code=201, summary="Put a generation in")
async def generate(request: Request, body: Generate, service: Serv, owner: Owner, idempotency_key: Key = None) -> Any:
    given = body.model_dump(mode="json", exclude_none=True)
    base = service.base_url(request)
    spec = spec_of(body, base)
    spec["v2"] = {key: given[key] for key in ("model", "input", "options", "segments", "webhookUrl") if key in given}
    model = body.model if body.model in service.config.model_names else None  # their names mean our default
    row, _ = await run_in_threadpool(
        lambda: put_in(
            service, owner, spec, model=model, name=body.outputFileName, door="v2", key=idempotency_key,
            fingerprint=fingerprint_of(given),
        )
    )  # fmt: skip
    return JSONResponse(generation_json(service, dict(row), base), 201)


def spec_of(body: Generate, base: str) -> dict[str, Any]:
    """Our job for their request. Raises: ApiError: something in it that we do not do, rather than do it otherwise."""
    videos = [each for each in body.input if each.type == "video"]
    sounds = [each for each in body.input if each.type == "audio"]
    for each in body.input:
        if each.type in ("image", "text"):
            raise ApiError(400, "unsupported", f"input of type {each.type} is not taken here; send video and audio")
    if len(videos) != 1 or not sounds:
        raise ApiError(400, "invalid", "give one video and at least one audio")
    options, more = _options(body.options or Options())
    spec: dict[str, Any] = {"video": _file(videos[0], base), "options": options, "extras": ["preview"], **more}
    if body.webhookUrl:
        spec["webhook_url"] = body.webhookUrl
    if not body.segments:
        if len(sounds) != 1:
            raise ApiError(400, "invalid", "give one audio, or segments that say when each is heard")
        return spec | {"audio": _file(sounds[0], base)}
    by_ref = {each.refId: each for each in sounds}
    options.pop("length", None)
    return spec | {"plan": [_entry(segment, by_ref, base) for segment in body.segments]}


def _entry(segment: Segment, by_ref: Mapping[str | None, Input], base: str) -> dict[str, Any]:
    if segment.audioInput.refId not in by_ref:
        raise ApiError(400, "invalid", f"there is no audio with refId {segment.audioInput.refId}")
    end, heard = segment.endTime, segment.audioInput
    if heard.endTime is not None:
        end = min(end, segment.startTime + heard.endTime - (heard.startTime or 0.0))
    entry = {"audio": _file(by_ref[heard.refId], base), "start": segment.startTime, "end": end}
    return entry | ({"audio_start": heard.startTime} if heard.startTime else {})


def _options(given: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {}
    if given.sync_mode == "remap":
        raise ApiError(400, "unsupported", "sync_mode remap is not done here; use bounce, loop, cut_off or silence")
    if given.sync_mode in LENGTHS:
        options["length"] = LENGTHS[given.sync_mode]
    if given.prompt:
        raise ApiError(400, "unsupported", "prompt is not done here: the model has no emotions to choose")
    if given.model_mode not in (None, "lips", "face"):
        raise ApiError(400, "unsupported", "model_mode head is not done here")
    speaker = given.active_speaker_detection
    if speaker is not None and speaker.bounding_boxes_url:
        raise ApiError(400, "unsupported", "send bounding_boxes themselves, not their address")
    if speaker is not None and speaker.coordinates:
        options["face"] = ",".join(f"{value:g}" for value in speaker.coordinates)
    elif speaker is not None and speaker.bounding_boxes:
        box = next((each for each in speaker.bounding_boxes if each and len(each) == 4), None)
        if box is not None:
            options["face"] = f"{box[0]:g},{box[1]:g},{box[2] - box[0]:g},{box[3] - box[1]:g}"
    own = dict(given.latentsync or {})
    more: dict[str, Any] = {"preset": own.pop("preset")} if "preset" in own else {}
    if given.sync_mode == "cut_off":
        more["shorter"] = True
    return options | own, more


def _file(given: Input, base: str) -> Any:
    """An upload's number, or an address; an address of our own is an upload."""
    if given.assetId:
        if not FILE_ID.fullmatch(given.assetId):
            raise ApiError(400, "invalid", "assetId: there is no such asset")
        return given.assetId
    if not given.url:
        raise ApiError(400, "invalid", "give url or assetId")
    try:
        parts = urlsplit(given.url)
    except ValueError as error:
        raise ConfigError("url", given.url, "is no web address") from error
    found = OWN_FILE.fullmatch(parts.path)
    if found and f"{parts.scheme}://{parts.netloc}" == base:
        return found[1]
    return {"url": given.url}


def generation_json(service: Service, row: Mapping[str, Any], base: str) -> dict[str, Any]:
    """A job as their interface shows it."""
    spec = json.loads(row["spec"])
    given = spec.get("v2") or {}
    result = json.loads(row["result"]) if row["result"] else None
    error = json.loads(row["error"]) if row["error"] else None
    if row["state"] == "cancelled":
        error = {"code": "cancelled", "message": "the generation was cancelled"}
    return {
        "id": row["id"], "createdAt": when(row["created_at"]), "status": STATUS[row["state"]],
        "model": given.get("model", row["model"]), "input": given.get("input", []), "options": given.get("options"),
        "segments": given.get("segments"), "webhookUrl": spec.get("webhook_url"),
        "outputUrl": None if result is None else f"{base}/v1/jobs/{row['id']}/result",
        "outputDuration": None if result is None else result["duration_s"], "segmentOutputUrl": None,
        "error": error and error["message"], "error_code": error and CODES.get(error["code"], error["code"]),
    }  # fmt: skip


def _own(service: Service, owner: str, job_id: str) -> dict[str, Any]:
    row = service.queries.job(job_id, owner) if JOB_ID.fullmatch(job_id) else None
    if row is None:
        raise not_found("generation")
    return row


@router.get("/generate/{generation_id}", summary="One generation")
def one(generation_id: str, request: Request, service: Serv, owner: Owner) -> dict[str, Any]:
    return generation_json(service, _own(service, owner, generation_id), service.base_url(request))


@router.get("/generations", summary="Generations, the newest first")
def every(
    request: Request,
    service: Serv,
    owner: Owner,
    status: Annotated[str | None, Query(max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[dict[str, Any]]:
    states = [state for state, shown in STATUS.items() if status is None or shown == status.upper()]
    rows = service.queries.page(owner, states, limit, door="v2") if states else []
    return [generation_json(service, row, service.base_url(request)) for row in rows]


@router.get("/models", summary="Models")
def models(service: Serv, owner: Owner) -> list[dict[str, Any]]:
    return [{"id": name, "name": name, "type": "lipsync"} for name in service.config.model_names]
