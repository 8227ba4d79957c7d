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
from synth_media import make_film, number_of, numbered_rgb, tone

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


def make_late(path: Path, late_s: int) -> Path:
    """A transport stream whose sound begins so late that nothing before says its rate."""
    return make_film(
        path, 25 * (late_s + 1), sound=tone(1.0, 16000, 1), sound_codec="mp2", sound_rate_hz=16000,
        sound_start_s=Fraction(late_s), options={"preset": "ultrafast"},
    )  # fmt: skip
