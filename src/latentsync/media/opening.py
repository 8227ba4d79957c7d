"""Media files opened for reading, and what a file is that is no media."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from latentsync.core.errors import MediaError
from latentsync.core.reading import kind_of, name_refused, shown_path

OPEN_OPTIONS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Tags in a wrong encoding are no reason not to open a file. From PyAV 19 on that goes without saying."""

_LOOK_AHEAD = {"probesize": str(1 << 26), "analyzeduration": "600000000"}
"""64 MiB and ten minutes: for transport streams, which name a track's rate and channels only where it begins."""

_HEAD_BYTES = 4096
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<script")
_TOP_BOXES = (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip", b"moof", b"uuid")
_MOST_BOXES = 10_000


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a media file for reading, with an error that says what to do where that is not possible."""
    path = Path(path)
    if why := name_refused(path):
        raise MediaError(f"{shown_path(path)}: cannot be opened ({why}). Check the name.")
    if not path.exists():
        raise MediaError(f"{path}: no such file. Check the name.")
    if path.is_dir():
        raise MediaError(f"{path}: this is a folder. Pass one file in it.")
    if not path.is_file():
        raise MediaError(f"{path}: is {kind_of(path)}, not a file. Save it to a file first and pass that.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
    if not head:
        raise MediaError(f"{path}: the file is empty. Copy or export it again.")
    if (what := not_media(head)) is not None:
        raise MediaError(f"{path}: {what}")
    try:
        container = av.open(str(path.absolute()), **OPEN_OPTIONS)
        if any(_is_unknown(stream) for stream in container.streams.audio):
            container.close()
            container = av.open(str(path.absolute()), options=_LOOK_AHEAD, **OPEN_OPTIONS)
    except (FFmpegError, OSError) as error:
        if _lacks_index(path):
            raise MediaError(
                f"{path}: its index (moov) is missing: the recording, copy or download was not finished. "
                "Copy or export it again."
            ) from error
        raise MediaError(
            f"{path}: not a video or sound file that can be read, or cut off ({_reason(error)}). "
            "Check that it plays, or convert it to mp4 or wav."
        ) from error
    try:
        yield container
    finally:
        container.close()


def not_media(head: bytes) -> str | None:
    """What a file is that begins so and certainly holds no media, and what to do; None = it may be media."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer, not the file itself. Fetch it: git lfs pull"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES) and b"<mpd" not in text and b"<smil" not in text:
        return "a web page, not a video or sound. Download the file itself."
    if not head.strip(b"\0"):
        return "begins with nothing but zeros: the copy or download was not finished. Copy it again."
    return None


def _is_unknown(stream: av.AudioStream) -> bool:
    """Whether neither rate nor channels of a track are known, though it can be decoded."""
    return stream.codec_context is not None and not stream.codec_context.sample_rate


def _lacks_index(path: Path) -> bool:
    """Whether a file is built like mp4 or mov (ISO 14496-12, 4.2) up to its end, but has no `moov` box."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        place, seen = 0, set[bytes]()
        for _ in range(_MOST_BOXES):
            file.seek(place)
            header = file.read(16)
            if len(header) < 8:
                break
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if size == 1 and len(header) == 16:
                size = int.from_bytes(header[8:], "big")
            if kind not in _TOP_BOXES or (size < 8 and size != 0):
                break
            seen.add(kind)
            place += size or end - place
            if place >= end:
                break
    return bool(seen & {b"ftyp", b"mdat"}) and not seen & {b"moov", b"moof"}


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0].lower()
