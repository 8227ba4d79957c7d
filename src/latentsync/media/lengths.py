"""Make a video as long as wanted: cut it, hold its last frame, repeat it, or run it forwards and backwards.

Times and indices carry on without a break, whatever the pictures do. Backwards goes by segments that are decoded
forwards and given in reverse, so memory holds one segment however long the film is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

from latentsync.core.errors import ConfigError
from latentsync.core.values import Frame, Picture
from latentsync.media.information import VideoInfo
from latentsync.media.reader import VideoReader

log = logging.getLogger(__name__)

Extend = Literal["none", "hold", "loop", "ping_pong"]

MAX_SEGMENT_FRAMES = 64
SEGMENT_BYTES = 200_000_000
"""A segment read backwards holds at most so much: 64 frames up to 1080p, 16 at 2160p."""


def fit_length(
    source: VideoReader | Path | str,
    duration_s: Fraction | None,
    mode: Extend = "none",
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
) -> FittedFrames:
    """Frames from time 0 (= `start_s` of the file) up to, not including, `duration_s`.

    Args:
        source: a file, or a reader whose start and end are then used.
        duration_s: wanted length, exact seconds; None = as long as the file, for mode "none" only.
        mode: what follows after the last frame. "none": nothing, the video may be shorter than wanted. "hold": the last
            frame again, at the average rate. "loop": the first frame, one frame's length later. "ping_pong": the frames
            in reverse with their own spacing mirrored; the frames at both turns come once. One frame alone is held.
    Yields: frames with indices from 0 and rising times; the first frame keeps its distance from `start_s`.
    Raises: MediaError: see `VideoReader`. ConfigError: no end with a mode that has none of its own.
    """
    if duration_s is None and mode != "none":
        raise ConfigError("length", mode, "give a duration, or take none")
    reader = source if isinstance(source, VideoReader) else VideoReader(source, start_s, end_s)
    origin = reader.start_s or Fraction(0)
    if mode == "none":
        steps: Iterator[tuple[Fraction, Picture]] = ((frame.time_s - origin, frame.picture) for frame in reader)
    elif mode == "hold":
        steps = _held(((frame.time_s - origin, frame.picture) for frame in reader), 1 / reader.info.fps)
    else:
        steps = _repeated(reader, origin, mode == "ping_pong", duration_s)
    return FittedFrames(steps, duration_s, lambda: reader.last_frame_s)


def fit_frames(frames: Iterable[Frame], duration_s: Fraction | None, mode: Extend, fps: Fraction) -> FittedFrames:
    """The same for frames that come only once and cannot be read backwards: mode "none" or "hold".

    Args:
        fps: rate at which the last frame is held.
    Raises: ConfigError: the mode needs frames again that are gone.
    """
    if mode not in ("none", "hold"):
        raise ConfigError("length", mode, "frames from a stream come once; choose none or hold, or pass a file")
    if duration_s is None and mode == "hold":
        raise ConfigError("length", mode, "give a duration, or take none")
    steps: Iterator[tuple[Fraction, Picture]] = ((frame.time_s, frame.picture) for frame in frames)
    return FittedFrames(_held(steps, 1 / fps) if mode == "hold" else steps, duration_s, lambda: 1 / fps)


class FittedFrames(Iterator[Frame]):
    """Frames up to a length, numbered from 0.

    Attributes:
        end_s: when the last frame ends, which is when the next one would come; None until all frames were given.
    """

    def __init__(
        self,
        steps: Iterator[tuple[Fraction, Picture]],
        duration_s: Fraction | None,
        last_frame_s: Callable[[], Fraction],
    ) -> None:
        """Args: last_frame_s: how long the last of all steps is shown, asked for when they are over."""
        self.end_s: Fraction | None = None
        self._frames = self._numbered(steps, duration_s, last_frame_s)

    def __next__(self) -> Frame:
        return next(self._frames)

    def _numbered(
        self,
        steps: Iterator[tuple[Fraction, Picture]],
        duration_s: Fraction | None,
        last_frame_s: Callable[[], Fraction],
    ) -> Iterator[Frame]:
        time_s: Fraction | None = None
        for index, (time_s, picture) in enumerate(steps):
            if duration_s is not None and time_s >= duration_s:
                self.end_s = time_s
                return
            yield Frame(index, time_s, picture)
        if time_s is not None:
            self.end_s = time_s + last_frame_s()


def _held(steps: Iterator[tuple[Fraction, Picture]], frame_s: Fraction) -> Iterator[tuple[Fraction, Picture]]:
    last: tuple[Fraction, Picture] | None = None
    for last in steps:
        yield last
    while last is not None:
        last = last[0] + frame_s, last[1]
        yield last


def _repeated(
    reader: VideoReader, origin: Fraction, backwards: bool, duration_s: Fraction | None
) -> Iterator[tuple[Fraction, Picture]]:
    """Forwards, then for ever: again from the start, or backwards and forwards in turn.

    Where the next frame would lie at or beyond `duration_s` anyway, nothing is read a second time.
    """
    frame_s = 1 / reader.info.fps
    segment = segment_frames(reader.info)
    marks: list[Fraction] = []  # time of each segment's first frame: all that is kept of the first run
    count = 0
    last: Frame | None = None
    step_s, before_s = frame_s, Fraction(0)
    for last in reader:
        if count % segment == 0:
            marks.append(last.time_s)
        if count and backwards:
            step_s = last.time_s - before_s
        before_s = last.time_s
        count += 1
        yield last.time_s - origin, last.picture
    if last is None or (duration_s is not None and last.time_s - origin + step_s >= duration_s):
        return
    now, edge = last.time_s - origin, last.time_s
    if count == 1:
        yield from islice(_held(iter([(now, last.picture)]), frame_s), 1, None)
        return
    last = None
    while True:
        if not backwards:
            shift = now + frame_s - marks[0]
            for frame in reader:
                now = frame.time_s + shift
                yield now, frame.picture
            continue
        for frame in islice(read_backwards(reader, marks, count, segment), 1, None):
            now, edge = now + edge - frame.time_s, frame.time_s
            yield now, frame.picture
        for frame in islice(reader, 1, None):
            now, edge = now + frame.time_s - edge, frame.time_s
            yield now, frame.picture


def read_backwards(reader: VideoReader, marks: list[Fraction], num_frames: int, segment: int) -> Iterator[Frame]:
    """The frames of a reader from last to first.

    Args:
        marks: time of frames 0, segment, 2·segment, … as read forwards.
        num_frames: of the whole, as read forwards.
        segment: frames held at a time.
    A segment in which a jump does not find the same number of frames again is counted off from the start: slow, right.
    """
    borders: list[Fraction | None] = [*marks, reader.end_s]
    warned = False
    for number, (start, end) in reversed(list(enumerate(pairwise(borders)))):
        wanted = min(segment, num_frames - number * segment)
        part = VideoReader(reader.path, start, end, reader.info)
        frames = list(islice(part, wanted + 1))
        part.close()
        if len(frames) != wanted or frames[0].time_s != start:
            if not warned:
                log.warning("%s: jumps in it are not exact, reading backwards will be slow", reader.path)
                warned = True
            counted = VideoReader(reader.path, reader.start_s, reader.end_s, reader.info)
            frames = list(islice(counted, number * segment, number * segment + wanted))
            counted.close()
        while frames:
            yield frames.pop()


def segment_frames(info: VideoInfo) -> int:
    """Frames to hold at a time while reading backwards, by the size of one frame (4:2:0 or more, in bytes)."""
    frame_bytes = info.width * info.height * 3 // 2 * (2 if info.bit_depth > 8 else 1)
    return max(min(MAX_SEGMENT_FRAMES, SEGMENT_BYTES // max(frame_bytes, 1)), 2)
