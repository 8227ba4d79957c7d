"""Small numbered frames to be written."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

from latentsync.core.values import Frame
from latentsync.media.information import VideoInfo
from latentsync.media.pixels import RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from synth_media import number_of, numbered_rgb

SMALL = VideoInfo(width=96, height=64, fps=Fraction(25), time_base=Fraction(1, 12800))


def frames(count: int, fps: Fraction | int = 25, size: tuple[int, int] = (96, 64)) -> list[Frame]:
    return [Frame(n, n / Fraction(fps), RgbPicture(numbered_rgb(n, *size))) for n in range(count)]


def copy(source: Path, target: Path, **options: object) -> list[tuple[int, Fraction]]:
    """Read, write, read again: numbers and times."""
    with VideoReader(source) as reader, VideoWriter(target, reader.info, **options) as writer:  # type: ignore[arg-type]
        for frame in reader:
            writer.write(frame)
    with VideoReader(target) as reader:
        return [(number_of(frame.picture.rgb()), frame.time_s) for frame in reader]


def nothing_left(folder: Path, but: set[str]) -> bool:
    return {path.name for path in folder.iterdir()} == but and "video-writer" not in {
        t.name for t in threading.enumerate()
    }
