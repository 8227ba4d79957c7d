"""A picture of a face: refused by its header where it would fill the memory."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.core.errors import MediaError, NoFaceError
from latentsync.faces.likeness import reference_likeness
from planted import PlantedTracker


def png(path: Path, side: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [8200, 20_000, 100_000])
def test_a_picture_of_gigabytes_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    with pytest.raises(MediaError, match="more pixels than a photo has"):
        reference_likeness(png(tmp_path / "a.png", side), PlantedTracker())


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50), b"text"])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(MediaError, match="not a picture that can be read"):
        reference_likeness(tmp_path / "a.png", PlantedTracker())


def test_a_photo_is_looked_at(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(NoFaceError):
        reference_likeness(tmp_path / "a.jpg", PlantedTracker())
