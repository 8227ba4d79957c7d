"""Frames of a video file with exact times."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.error import FFmpegError

from latentsync.core.errors import MediaError
from latentsync.core.values import Frame
from latentsync.media.information import JUMP_S, VideoInfo, joined_ends, probe
from latentsync.media.opening import opened
from latentsync.media.pixels import PlanarPicture
from latentsync.media.tracks import origin_of, video_stream

log = logging.getLogger(__name__)

MAX_DAMAGED_RUN = 8
"""So many packets in a row that cannot be decoded end the file."""

_SAME_SHAPE = 0.01
"""Sizes whose shapes differ by less are the same picture scaled: codecs round to even numbers or to sixteens."""

GAP_FRAMES = Fraction(5, 2)
"""A step between two frames longer than this many frames is a hole. Variable rates rarely leave out two in a row."""

_EARLIER_S = (0, 1, 4, 16, 64)
"""How much before the wanted time to land, tried in turn, in files whose index is wrong or missing."""


class FrameClock:
    """Turns raw times into strictly rising ones.

    A missing time is the one before plus a frame. A time that does not rise is the one before plus half a frame; a jump
    back of more than a second starts a new clock that carries on after the last frame.
    """

    def __init__(self, frame_s: Fraction) -> None:
        self._frame_s = frame_s
        self._shift = Fraction(0)
        self._last: Fraction | None = None
        self.num_repaired = 0

    def at(self, raw_s: Fraction | None) -> Fraction:
        """The time of the next frame, exact seconds."""
        if self._last is None:
            self._last = raw_s if raw_s is not None else Fraction(0)
            return self._last
        time = self._last + self._frame_s if raw_s is None else raw_s + self._shift
        if time <= self._last:
            self.num_repaired += 1
            if time < self._last - JUMP_S:
                self._shift += self._last + self._frame_s - time
                time = self._last + self._frame_s
            else:
                time = self._last + self._frame_s / 2
        self._last = time
        return time


class VideoReader:
    """Read a video from its start or from `start_s`, frame by frame.

    Times are pts × time base, exact, counted from the container's origin: the earlier of the starts of video and sound,
    so that a picture that starts later than the sound keeps its distance from it. `start_s` does not change them, only
    which frames come: those with start_s ≤ time < end_s. Indices count from 0 from the first frame given.
    Frames come upright (rotation and mirroring in the container are applied to the planes); interlaced frames are left
    as they are. Where the size changes on the way (files put one after the other, calls over a poor line), pictures are
    scaled to the size of the first, warned about once. Packets that cannot be decoded are skipped, counted in `damaged`
    and warned about once; eight in a row end the file. Frames that the decoder calls damaged are given as they are and
    counted in `corrupt`; `missing` counts those left out between two times of an even rate, see `damage`.

    Each loop over the reader starts anew; every loop's file is closed at its end or with the reader. `scaled_from_s` is
    when the size first changed. After a loop that came to its end, `last_frame_s` is how long the last frame is shown:
    until the next one where `end_s` left some out, else, at a variable rate, as its file says, else 1 / fps.

    Args:
        path: the video file.
        start_s, end_s: the part to read, exact seconds; None = from the start, to the end.
    Raises: MediaError: the file cannot be read, has no video, or nothing in it can be decoded; on reading: the picture
        gets another shape, which scaling would distort.
    """

    def __init__(
        self,
        path: Path | str,
        start_s: Fraction | None = None,
        end_s: Fraction | None = None,
        info: VideoInfo | None = None,
    ) -> None:
        self.path = Path(path)
        if info is None:
            media = probe(self.path)
            if media.video is None:
                raise MediaError(f"{self.path}: no video in it, only sound. Pass a file with pictures.")
            info = media.video
        self.info: VideoInfo = info
        self.start_s, self.end_s = start_s, end_s
        self.damaged = self.corrupt = self.missing = 0
        self.scaled_from_s: Fraction | None = None
        self.last_frame_s = 1 / info.fps
        self._loops: list[Any] = []  # generators

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        loop: Any = self._frames()
        self._loops = [old for old in self._loops if old.gi_frame is not None] + [loop]
        return loop

    @property
    def damage(self) -> str | None:
        """What of the frames read so far is damaged, in words with counts; None = nothing."""
        if not self.damaged and not self.corrupt:
            return None  # a gap alone may be meant
        counts = {
            "packets cannot be decoded and are skipped": self.damaged,
            "frames show damage": self.corrupt,
            "frames are missing": self.missing,
        }
        return "the video is damaged: " + ", ".join(f"{num} {words}" for words, num in counts.items() if num)

    def close(self) -> None:
        """Close the files of loops that were left early."""
        for loop in self._loops:
            if not loop.gi_running:  # a thread that is inside closes its own
                loop.close()
        self._loops.clear()

    def _frames(self) -> Generator[Frame, None, None]:
        clock = FrameClock(1 / self.info.fps)
        index = corrupt = missing = 0
        seen_key = False  # a codec that names no key frame does not tell which frames are whole either
        shown_s, last_s = 1 / self.info.fps, Fraction(0)
        for raw_s, decoded in self._decoded():
            time_s = clock.at(raw_s)
            if self.end_s is not None and time_s >= self.end_s:
                shown_s = time_s - last_s if index else shown_s
                break
            if self.start_s is not None and time_s < self.start_s:
                continue
            seen_key = seen_key or bool(decoded.key_frame)
            corrupt += bool(decoded.is_corrupt)
            if index and not self.info.is_variable_rate and (time_s - last_s) * self.info.fps > GAP_FRAMES:
                missing += round((time_s - last_s) * self.info.fps) - 1
            self.corrupt, self.missing = max(self.corrupt, corrupt * seen_key), max(self.missing, missing)
            picture = PlanarPicture(self._sized(decoded, time_s))
            if self.info.rotation or self.info.is_mirrored:
                picture = picture.upright(self.info.rotation // 90, self.info.is_mirrored)
            last_s = time_s
            if self.info.is_variable_rate and decoded.duration and decoded.time_base:
                shown_s = decoded.duration * decoded.time_base
            yield Frame(index, time_s, picture)
            index += 1
        self.last_frame_s = shown_s
        if clock.num_repaired:
            log.warning("%s: %d frame times did not rise and were repaired", self.path, clock.num_repaired)

    def _sized(self, frame: av.VideoFrame, time_s: Fraction) -> av.VideoFrame:
        """The frame as stored, in the size of the first one."""
        size = (self.info.width, self.info.height)
        width, height = size if self.info.rotation % 180 == 0 else size[::-1]
        if (frame.width, frame.height) == (width, height):
            return frame
        change = f"changes from {width}x{height} to {frame.width}x{frame.height} at {float(time_s):.2f} s"
        if abs(frame.width * height / (width * frame.height) - 1) > _SAME_SHAPE:
            raise MediaError(f"{self.path}: the picture {change}. Cut the video there (--start, --end), or convert it.")
        if self.scaled_from_s is None:
            self.scaled_from_s = time_s
            log.warning("%s: the picture %s and is scaled to the first size", self.path, change)
        scaled = frame.reformat(width, height, interpolation="BICUBIC")
        scaled.colorspace, scaled.color_range = frame.colorspace, frame.color_range
        return scaled

    def _decoded(self) -> Iterator[tuple[Fraction | None, av.VideoFrame]]:
        """Frames in display order from at or before the start, with raw times."""
        start = self.start_s or Fraction(0)
        if start > self.info.start_s and not joined_ends(self.path):
            for earlier in _EARLIER_S:
                if start - earlier <= self.info.start_s:
                    break
                frames = self._from_seek(start - earlier)
                first = next(frames, None)
                if first is not None and first[0] is not None and first[0] <= start:
                    yield first
                    yield from frames
                    return
                frames.close()
        self.damaged = 0
        yield from self._pass(None)

    def _from_seek(self, target_s: Fraction) -> Generator[tuple[Fraction | None, av.VideoFrame], None, None]:
        """From the first key frame on: what comes before it after a jump refers to frames that were not read."""
        frames = self._pass(target_s)
        seen_key = False
        for raw_s, frame in frames:
            seen_key = seen_key or bool(frame.key_frame)
            if seen_key:
                yield raw_s, frame

    def _pass(self, seek_s: Fraction | None) -> Iterator[tuple[Fraction | None, av.VideoFrame]]:
        with opened(self.path) as container:
            stream = video_stream(container)
            if stream is None:
                raise MediaError(f"{self.path}: no video in it. Pass a file with pictures.")
            stream.thread_type = "AUTO"
            tick = stream.time_base or Fraction(1, 90000)
            origin = origin_of(container)
            if seek_s is not None:
                try:
                    container.seek(int((seek_s + origin) / tick // 1), stream=stream, backward=True)
                except FFmpegError:
                    return
            num_decoded = 0
            for frame in self._packets(container, stream):
                num_decoded += 1
                yield (frame.pts * tick - origin - self.info.lag_s if frame.pts is not None else None), frame
            if not num_decoded and seek_s is None:
                raise MediaError(
                    f"{self.path}: no picture can be decoded from it. Export it again, or pass another file."
                )

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Decode packet after packet, stepping over damaged ones."""
        run = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                self._count_damage(error)
                return
            try:
                frames = packet.decode()
                run = 0 if frames else run
            except FFmpegError as error:
                self._count_damage(error)
                run += 1
                if run >= MAX_DAMAGED_RUN:
                    log.warning("%s: %d damaged packets in a row, the rest is left out", self.path, run)
                    return
                continue
            yield from frames  # type: ignore[misc]

    def _count_damage(self, error: FFmpegError) -> None:
        self.damaged += 1
        if self.damaged == 1:
            log.warning("%s: damaged, some frames are left out (%s)", self.path, error.strerror)
