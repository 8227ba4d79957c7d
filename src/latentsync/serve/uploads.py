"""Uploads: tus 1.0.0 (resumable), one request for a small file, and what can be seen of a file."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from latentsync.core.errors import LatentSyncError
from latentsync.serve import looking
from latentsync.serve.answers import sent
from latentsync.serve.context import ApiError, Owner, Serv, Service, not_found
from latentsync.serve.shapes import FileAnswer, FileList, file_json

VERSION = "1.0.0"
BLOCK = 4 * 2**20
router = APIRouter(prefix="/v1", tags=["files"])


def tus_headers(**more: object) -> dict[str, str]:
    return {"Tus-Resumable": VERSION} | {key.replace("_", "-"): str(value) for key, value in more.items()}


@router.options("/uploads", status_code=204, summary="What the upload protocol can do")
async def uploads_options(service: Serv) -> Response:
    most = service.config.upload_bytes
    extensions = "creation,termination"
    return Response(None, 204, tus_headers(Tus_Version=VERSION, Tus_Max_Size=most, Tus_Extension=extensions))


@router.post("/uploads", status_code=201, summary="Begin an upload (tus)")
async def begin(request: Request, service: Serv, owner: Owner) -> Response:
    length = request.headers.get("upload-length", "")
    if not length.isdecimal() or len(length) > 18:
        raise ApiError(422, "invalid", "Upload-Length: say how many bytes will come", "Upload-Length")
    row = await _created(service, owner, _name_in(request.headers.get("upload-metadata", "")), int(length))
    return Response(None, 201, tus_headers(Location=f"/v1/uploads/{row['id']}", Upload_Offset=0))


def _name_in(metadata: str) -> str:
    """The file name among tus metadata: `filename BASE64, …`."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            try:
                return base64.b64decode(value, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError) as error:
                raise ApiError(422, "invalid", "Upload-Metadata: filename is not base64", "Upload-Metadata") from error
    return "unnamed"


async def _created(service: Service, owner: str, name: str, size: int) -> dict[str, Any]:
    if size > service.config.upload_bytes:
        raise ApiError(413, "too_large", f"at most {service.config.upload_bytes} bytes are taken")
    if size == 0:
        raise ApiError(422, "invalid", "the file is empty", "Upload-Length")
    return await run_in_threadpool(service.files.create, owner, name, size)


async def _row(service: Service, owner: str, file_id: str) -> dict[str, Any]:
    row = await run_in_threadpool(service.files.get, file_id, owner)
    if row is None:
        raise not_found("file")
    return row


@router.head("/uploads/{file_id}", summary="How much of an upload is there (tus)")
async def offset(file_id: str, service: Serv, owner: Owner) -> Response:
    row = await _row(service, owner, file_id)
    there = service.files.offset(row)
    if there == row["size"] and row["sha256"] is None:  # the service was killed after the last byte came
        await _completed(service, row)
    return Response(None, 200, tus_headers(Upload_Offset=there, Upload_Length=row["size"], Cache_Control="no-store"))


@router.patch("/uploads/{file_id}", status_code=204, summary="Go on with an upload (tus)")
async def go_on(file_id: str, request: Request, service: Serv, owner: Owner) -> Response:
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise ApiError(415, "unsupported", "send Content-Type: application/offset+octet-stream")
    given = request.headers.get("upload-offset", "")
    if not given.isdecimal() or len(given) > 18:
        raise ApiError(422, "invalid", "Upload-Offset: say where the bytes begin", "Upload-Offset")
    row = await _row(service, owner, file_id)
    end = await _received(request, service, row, int(given))
    if end == row["size"] and row["sha256"] is None:
        await _completed(service, row)
    return Response(None, 204, tus_headers(Upload_Offset=end))


async def _received(request: Request, service: Service, row: dict[str, Any], at: int) -> int:
    """Write the body as it comes, a few MiB at a time; what came before a break stays. Returns: the new end."""
    waiting = bytearray()
    length = request.headers.get("content-length", "")
    if length.isdecimal() and at + int(length) > row["size"]:
        raise ApiError(413, "too_large", "more bytes come than the upload was announced with")
    if at != service.files.offset(row):
        raise ApiError(409, "conflict", f"the upload goes on at byte {service.files.offset(row)}, not at {at}")
    try:
        async for block in request.stream():
            waiting += block
            if len(waiting) >= BLOCK:
                at = await run_in_threadpool(service.files.append, row, at, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        pass
    if waiting:
        at = await run_in_threadpool(service.files.append, row, at, bytes(waiting))
    await run_in_threadpool(service.files.note, row["id"], at)
    return at


async def _completed(service: Service, row: dict[str, Any]) -> dict[str, Any]:
    info = await service.looker(looking.describe, service.files.path_of(row))
    return await run_in_threadpool(service.files.complete, row, info)


@router.delete("/uploads/{file_id}", status_code=204, summary="Break an upload off (tus)")
async def break_off(file_id: str, service: Serv, owner: Owner) -> Response:
    await delete_file(file_id, service, owner)
    return Response(None, 204, tus_headers())


@router.post("/files", status_code=201, response_model=FileAnswer, summary="Upload a small file in one request")
async def whole(
    request: Request, service: Serv, owner: Owner, name: Annotated[str, Query(max_length=1000)] = "unnamed"
) -> dict[str, Any]:
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise ApiError(411, "invalid", "send Content-Length, or use /v1/uploads")
    row = await _created(service, owner, name, int(length))
    if await _received(request, service, row, 0) != row["size"]:
        await run_in_threadpool(service.files.delete, row["id"])
        raise ApiError(400, "invalid", "the request was cut off")
    return file_json(await _completed(service, row), service.config.keep_s)


@router.get("/files", response_model=FileList, summary="Uploads, the newest first")
def all_files(service: Serv, owner: Owner) -> dict[str, Any]:
    return {"files": [file_json(row, service.config.keep_s) for row in service.files.page(owner)]}


@router.get("/files/{file_id}", response_model=FileAnswer, summary="One upload")
async def one_file(file_id: str, service: Serv, owner: Owner) -> dict[str, Any]:
    return file_json(await _row(service, owner, file_id), service.config.keep_s)


@router.delete("/files/{file_id}", status_code=204, summary="Delete an upload")
async def delete_file(file_id: str, service: Serv, owner: Owner) -> None:
    await _row(service, owner, file_id)
    if await run_in_threadpool(service.queries.needs, file_id):
        raise ApiError(409, "conflict", "a job still needs this file")
    await run_in_threadpool(service.files.delete, file_id)


async def _ready(service: Service, owner: str, file_id: str) -> tuple[dict[str, Any], Path]:
    row = await _row(service, owner, file_id)
    if row["sha256"] is None:
        raise ApiError(409, "conflict", "the upload is not complete yet")
    return row, service.files.path_of(row)


@router.get("/files/{file_id}/content", response_class=FileResponse, summary="The bytes of an upload")
async def content(file_id: str, service: Serv, owner: Owner, request: Request) -> Response:
    row, path = await _ready(service, owner, file_id)
    return sent(request, path, row["name"], row["sha256"])


@router.get("/files/{file_id}/frame", response_class=FileResponse, summary="One frame of a video as a JPEG")
async def frame(
    file_id: str, service: Serv, owner: Owner, request: Request, t: Annotated[float, Query(ge=0, le=1e6)] = 0.0
) -> Response:
    row, path = await _picture(service, owner, file_id)
    out = service.files.beside(row, f"frame-{round(t * 1000)}.jpg")
    if not out.exists():
        await _looked(service, row, looking.still, path, t, out)
    return sent(request, out)


@router.get("/files/{file_id}/preview", response_class=FileResponse, summary="A small H.264 copy of a video")
async def preview(file_id: str, service: Serv, owner: Owner, request: Request) -> Response:
    row, path = await _picture(service, owner, file_id)
    out = service.files.beside(row, "preview.mp4")
    if not out.exists():
        await _looked(service, row, looking.small_video, path, out, path)
    return sent(request, out)


async def _picture(service: Service, owner: str, file_id: str) -> tuple[dict[str, Any], Path]:
    row, path = await _ready(service, owner, file_id)
    info = json.loads(row["info"] or "{}")
    if info.get("kind") not in ("video", "image"):
        raise ApiError(422, "invalid", f"{row['name']}: there is no picture in it")
    check_limits(service, row, info)
    return row, path


def check_limits(service: Service, row: dict[str, Any], info: dict[str, Any]) -> None:
    """Raises: ApiError: 413, a picture or a length beyond the service's limits."""
    config = service.config
    if (info.get("width") or 0) * (info.get("height") or 0) > config.pixels:
        words = f"{row['name']}: {info['width']} × {info['height']} pixels; at most {config.pixels} are taken"
        raise ApiError(413, "too_large", words, "video")
    if (info.get("duration_s") or 0.0) > config.video_s:
        words = f"{row['name']}: {info['duration_s']:.0f} s long; at most {config.video_s:.0f} s are taken"
        raise ApiError(413, "too_large", words, "video")


async def _looked(service: Service, row: dict[str, Any], work: Any, *args: Any) -> None:
    try:
        await service.looker(work, *args)
    except LatentSyncError as error:
        text = str(error).replace(str(service.files.path_of(row)), row["name"])
        raise ApiError(422, "invalid", text) from error
