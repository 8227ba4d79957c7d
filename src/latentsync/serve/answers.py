"""Files as answers: Range, ETag, and headers that keep a browser from running what is in them."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse

from latentsync.serve.context import not_found
from latentsync.serve.security import SANDBOX

TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska",
    ".webm": "video/webm", ".avi": "video/x-msvideo", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4",
    ".flac": "audio/flac", ".ogg": "audio/ogg", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".webp": "image/webp", ".html": "text/html; charset=utf-8",
}  # fmt: skip
"""What is told of a file's kind; anything else is bytes. Nothing is guessed from its content or its user's name."""


def sent(request: Request, path: Path, name: str | None = None, sha256: str | None = None) -> Response:
    """A file, or the part of it that is asked for.

    Args: name: under which it is saved; None = it is shown. sha256: of its content, for the ETag.
    Raises: ApiError: 404, it is not there.
    """
    if not path.is_file():
        raise not_found("file")
    headers = {"content-security-policy": SANDBOX, "accept-ranges": "bytes"}
    if sha256 is not None:
        headers["etag"] = f'"{sha256}"'
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
    kind = TYPES.get(path.suffix, "application/octet-stream")
    way = "inline" if name is None else "attachment"
    return FileResponse(path, headers=headers, media_type=kind, filename=name, content_disposition_type=way)
