"""Contact sheets: a few pictures of clips, kept and rejected, as JPEG in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.core.errors import LatentSyncError
from latentsync.core.values import Bytes
from latentsync.data.clip import GRID_FPS
from latentsync.media.reader import VideoReader

SIDE_PX = 96
PICTURES = 3


def strip(folder: Path, row: Mapping[str, Any], source: Path | None) -> str | None:
    """Start, middle and end of a clip side by side as a data URL: its crops, else its source; None = nothing to see."""
    import json

    files = json.loads(row["files"])
    for name in ("video.mp4", "crops"):
        if name in files and (folder / files[name]).is_file():
            return _strip_of(folder / files[name], Fraction(0), int(row["num_frames"]))
    if source is not None and source.is_file():
        return _strip_of(source, Fraction(row["start_exact"]), int(row["num_frames"]))
    return None


def _strip_of(path: Path, start_s: Fraction, num_frames: int) -> str | None:
    pictures = []
    for part in range(PICTURES):
        at = start_s + Fraction(max(num_frames - 1, 0) * part, (PICTURES - 1) * GRID_FPS)
        picture = _picture_at(path, at)
        if picture is not None:
            pictures.append(_square(picture))
        if not num_frames:
            break
    if not pictures:
        return None
    joined = np.ascontiguousarray(np.concatenate(pictures, axis=1)[..., ::-1])
    done, data = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii") if done else None


def _picture_at(path: Path, time_s: Fraction) -> Bytes | None:
    try:
        with VideoReader(path, max(Fraction(0), time_s - Fraction(1, 2 * GRID_FPS))) as reader:
            frame = next(iter(reader), None)
            return None if frame is None else frame.picture.thumbnail(2 * SIDE_PX)
    except LatentSyncError:
        return None  # the page shows what can be shown; the line beside it says why


def _square(picture: Bytes) -> Bytes:
    height, width = picture.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    out = np.full((SIDE_PX, SIDE_PX, 3), 127, np.uint8)
    y, x = (SIDE_PX - size[1]) // 2, (SIDE_PX - size[0]) // 2
    out[y : y + size[1], x : x + size[0]] = small
    return out


def spread(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """`count` of the rows, evenly over them."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (count - 1))] for index in range(count)]
