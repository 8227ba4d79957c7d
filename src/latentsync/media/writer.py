"""Writes a video that follows its source, with its sound, whole or not at all."""

from __future__ import annotations

import errno
import logging
import queue
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.error import FFmpegError

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.files import atomic_path, refuse_unwritable, sweep_parts_of
from latentsync.core.timecode import Timecode
from latentsync.core.values import Frame
from latentsync.media.codecs import clock_for, container_of, encoder_for, pixel_format_for
from latentsync.media.further import Further, FurtherTracks
from latentsync.media.information import VideoInfo
from latentsync.media.losses import losses
from latentsync.media.mixing import MixPlan
from latentsync.media.picture_encoder import ISO_SUFFIXES, PictureEncoder
from latentsync.media.smart import SmartPlan, SmartStream, source_groups
from latentsync.media.sound_track import AudioPlan, SoundTrack, further_sounds, open_track
from latentsync.media.tracks import tags_for

log = logging.getLogger(__name__)

_POLL_S = 0.1
TIMECODE_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm")
_OFF_BEAT = Fraction(1, 4)
"""AVI has one tick a frame: a time farther than this part of a frame from its tick cannot be said."""


def check_beat(path: Path, clock: Fraction, times_s: Iterable[Fraction]) -> None:
    """Refuse times that .avi cannot hold. Where the first one lies between two ticks, all move with it to the nearer.

    Args: path: of the file to write, of any kind. clock: its tick, seconds.
    Raises: MediaError: they do not keep to the beat.
    """
    first: Fraction | None = None
    for time_s in times_s if path.suffix.lower() == ".avi" else ():
        first = time_s / clock if first is None else first
        since = time_s / clock - first
        if abs(since - round(since)) > _OFF_BEAT:
            raise MediaError(f"{path}: .avi cannot hold a variable frame rate. Write .mp4 or .mkv.")


class VideoWriter:
    """Encode frames into a file, in a thread of its own.

    Codec, pixel format, bit depth, colour tags, pixel shape and clock follow `like` (the tables are in `codecs`). Times
    are kept exactly as far as the container's clock can say them, variable rates and late starts too (.avi: no variable
    rate, and a start within half a frame); the last frame lasts 1 / fps, or up to `end_s` where that is set before the
    `with` block ends. HDR10 metadata go along where the encoder takes them, and x264 codes interlaced pictures as such.
    What else the source has and the file will not have is reported in `losses`, a sentence each.

    The file appears under its name when the `with` block ends well. After any exception, Ctrl-C included, nothing is
    left of it; what a killed process left of a file of this name is deleted. Frames must have the size of `like` and
    times that rise.

        with VideoWriter("out.mp4", like=reader.info, audio=AudioPlan(Path("speech.wav"))) as writer:
            for frame in frames: writer.write(frame)

    Args:
        path: .mp4, .mov, .m4v, .mkv, .webm or .avi; the folder must exist.
        like: the source.
        codec, crf, pixel_format: instead of following the source.
        metadata: written into the container, e.g. where the picture comes from.
        timecode: of the first frame, None = none. .avi cannot hold it.
        smart: frames of this film that are not edited are copied in whole groups, see `smart`; where that cannot be,
            `losses` says why and all are encoded. None = all are encoded.
        further: what goes along beside picture and speech, see `further.further_of`; None = nothing.
        audio: the sound, None = none.
        depth: frames that may wait for the encoder.
        overwrite: False = a file that has or comes to have the name is left as it is, and none is written.
    Raises: MediaError: the file cannot be written. ConfigError: codec, crf or pixel format do not fit.
    """

    def __init__(
        self,
        path: Path | str,
        like: VideoInfo,
        codec: str | None = None,
        crf: float | None = None,
        pixel_format: str | None = None,
        metadata: dict[str, str] | None = None,
        audio: AudioPlan | MixPlan | None = None,
        depth: int = 4,
        timecode: Timecode | None = None,
        further: Further | None = None,
        overwrite: bool = True,
        smart: SmartPlan | None = None,
    ) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self.like, self.metadata = like, dict(metadata or {})
        self.audio = audio if audio is not None and audio.mode != "none" else None
        self.suffix = container_of(self.path)
        self.encoder = encoder_for(self.suffix, like.codec, codec, like.bit_depth)
        size = (like.width, like.height)
        self.pixel_format = pixel_format_for(self.encoder, like.pix_fmt, size, pixel_format)
        self.losses = losses(like, self.encoder.name, self.pixel_format)
        self.timecode = timecode
        if timecode is not None and self.suffix not in TIMECODE_SUFFIXES:
            self.losses += (f"{self.suffix} holds no timecode: that of the video is not in the result",)
        self.crf = self.encoder.crf_for(crf)
        self.clock = clock_for(self.suffix, like)
        self._picture = PictureEncoder(like, self.encoder, self.pixel_format, self.crf, self.suffix, self.clock)
        self._smart = None if smart is None else self._smart_stream(smart)
        self.num_written = 0
        self.end_s: Fraction | None = None
        self._queue: queue.Queue[tuple[Frame, bool] | None] = queue.Queue(depth)
        self._leaving = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._resources = ExitStack()
        self.further = further
        self.losses += () if further is None else further.losses
        self._tracks: list[SoundTrack] = []
        self._last_pts: int | None = None
        self._first_s: Fraction | None = None

    def __enter__(self) -> VideoWriter:
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise MediaError(f"{self.path}: there is no folder {folder}. Make it first, or choose another place.")
        if self.path.is_dir():
            raise MediaError(f"{self.path}: this is a folder. Give the name of a file.")
        refuse_unwritable(self.path)
        try:
            sweep_parts_of(self.path.absolute())
            part = self._resources.enter_context(atomic_path(self.path.absolute(), held=True, replace=self.overwrite))
            self._open(part)
        except BaseException as error:
            self._abandon(error)
            raise self._said(error) from error
        self._thread = threading.Thread(target=self._work, name="video-writer", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            self._put(None)
            self._join()
            if self._error is not None:
                raise self._error
            self._finish()
        except BaseException as failure:
            self._abandon(failure)
            said = self._said(failure)
            if said is failure:
                raise
            raise said from failure
        try:
            self._resources.close()  # renames
        except OSError as failure:
            raise self._said(failure) from failure
        log.info("%s: %d frames, %s %s", self.path, self.num_written, self.encoder.name, self.pixel_format)

    @property
    def num_copied(self) -> int:
        """Frames written so far that were copied as they are."""
        return 0 if self._smart is None else self._smart.num_copied

    def _smart_stream(self, plan: SmartPlan) -> SmartStream | None:
        groups = source_groups(plan, self.like, self.suffix, self.encoder.name, self.pixel_format)
        if isinstance(groups, str):
            self.losses += (f"--render smart is not possible: {groups}. Everything is encoded anew",)
            return None
        return SmartStream(groups, self.like, self._picture.alone, self._picture.ready, self.clock)

    def write(self, frame: Frame, is_edited: bool = True) -> None:
        """Hand a frame to the encoder. Waits while the queue is full; raises what the encoder met earlier.

        Args: is_edited: it is not as the film has it; others may be copied (`smart`).
        """
        picture = frame.picture
        if (picture.width, picture.height) != (self.like.width, self.like.height):
            size = f"{self.like.width}x{self.like.height}"
            raise ValueError(f"frame {frame.index} is {picture.width}x{picture.height}, the file {size}")
        self._put((frame, is_edited))

    def _put(self, frame: tuple[Frame, bool] | None) -> None:
        if self._thread is None:
            raise RuntimeError("VideoWriter is not open: use it in a with block")
        while self._error is None:
            try:
                self._queue.put(frame, timeout=_POLL_S)
                return
            except queue.Full:
                continue
        raise self._said(self._error) from self._error

    def _open(self, part: Path) -> None:
        options = {"movflags": "+faststart+use_metadata_tags"} if self.suffix in ISO_SUFFIXES else {}
        kind = "mp4" if self.suffix == ".m4v" else None  # FFmpeg's own choice for .m4v, "ipod", holds no HEVC
        self._output = av.open(str(part), "w", format=kind, options=options)
        self._resources.push(_Closer(self._output).leave)
        self._output.metadata.update(self.metadata)
        stream: Any = self._picture.add_to(self._output) if self._smart is None else self._smart.add_to(self._output)
        if self._smart is not None:
            self._resources.callback(self._smart.close)
        if self.timecode is not None:
            stream.metadata["timecode"] = str(self.timecode)
        self._stream = stream
        if self.audio is not None:
            self._add_track(open_track(self._output, self.suffix, self.audio))
        if self.further is not None:
            stream.metadata.update(tags_for(self.suffix, self.further.tags))
            for plan in further_sounds(self.further):
                self._add_track(open_track(self._output, self.suffix, plan, is_default=self.audio is None))
            self._add_track(FurtherTracks(self._output, self.suffix, self.further))

    def _add_track(self, track: SoundTrack) -> None:
        self._tracks.append(track)
        self._resources.callback(track.close)

    def _work(self) -> None:
        try:
            while not self._leaving.is_set():
                try:
                    frame = self._queue.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if frame is None:
                    return
                self._encode(*frame)
        except BaseException as error:
            self._error = error

    def _encode(self, frame: Frame, is_edited: bool) -> None:
        pts = self._pts(frame.time_s)
        if self._smart is not None:
            self._mux(self._smart.take(frame, is_edited, pts))
        else:
            out = self._picture.ready(frame)
            out.pts, out.time_base = pts, self.clock
            out.pict_type = 0  # the encoder decides, not the source
            self._mux(self._stream.encode(out))
        self.num_written += 1

    def _pts(self, time_s: Fraction) -> int:
        self._first_s = time_s if self._first_s is None else self._first_s
        check_beat(self.path, self.clock, (self._first_s, time_s))
        pts = round(time_s / self.clock)
        if self.suffix == ".avi":
            pts = round(self._first_s / self.clock) + round((time_s - self._first_s) / self.clock)
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1
        self._last_pts = pts
        return pts

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._output.mux(packet)
            if packet.dts is None:
                continue
            for track in self._tracks:
                track.feed(packet.dts * packet.time_base)

    def _finish(self) -> None:
        if not self.num_written:
            raise MediaError(f"{self.path}: there are no frames to write. Check the start and end that were asked for.")
        last_pts = self._last_pts or 0
        end_s = last_pts * self.clock + 1 / self.like.fps
        packets = self._stream.encode(None) if self._smart is None else self._smart.finish()
        if self.end_s is not None and self.end_s > last_pts * self.clock:
            end_s = self.end_s
            for packet in packets:
                if packet.pts == last_pts and packet.time_base == self.clock:
                    packet.duration = max(1, round(end_s / self.clock) - last_pts)
        self._mux(packets)
        for track in self._tracks:
            track.finish(end_s)
        self._output.close()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _abandon(self, error: BaseException) -> None:
        self._leaving.set()
        while self._thread is not None and self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(_POLL_S)
        self._thread = None
        try:
            self._resources.__exit__(type(error), error, error.__traceback__)
        except BaseException as again:  # the context managers raise the same error on
            if again is not error:
                log.debug("%s: while giving up: %s", self.path, again)

    def _said(self, error: BaseException) -> BaseException:
        """The error as a user can use it: what went wrong with the file, in one line."""
        if isinstance(error, LatentSyncError) or not isinstance(error, FFmpegError | OSError):
            return error
        code = getattr(error, "errno", None)
        if code == errno.ENOSPC:
            return MediaError(f"{self.path}: the disk is full. Free some space, or choose another place.")
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            return MediaError(f"{self.path}: may not be written. Check the permissions, or choose another place.")
        reason = str(getattr(error, "strerror", None) or error)
        return MediaError(f"{self.path}: cannot be written ({reason}). Choose another place, codec or file type.")


class _Closer:
    """Closes a container that is given up. What goes wrong then is not news; after a good end it does nothing."""

    def __init__(self, output: av.container.OutputContainer) -> None:
        self._output = output

    def leave(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """For `ExitStack.push`."""
        if error is None:
            return
        try:
            self._output.close()
        except (FFmpegError, OSError, ValueError) as failure:
            log.debug("closing a file that is given up: %s", failure)
