"""What is in a media file, read from its header and its first frame."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.error import FFmpegError

from latentsync.core.errors import MediaError
from latentsync.media.hdr import Hdr, dynamic_hdr_of, hdr_of
from latentsync.media.opening import opened
from latentsync.media.tracks import (
    SoundTrackInfo,
    audio_stream,
    layout_name,
    orientation,
    origin_of,
    sound_tracks,
    video_stream,
)

_SPACING_PACKETS = 240  # enough to see a variable rate, a few milliseconds to read
_FIRST_FRAME_PACKETS = 400
JUMP_S = 1
"""A step back of more than this is a new clock (files put one after the other), not disorder."""

_JOINABLE = ("mpegts", "mpeg")
_SCANNED_BYTES = 1 << 30
"""Files up to this size are looked through for a second clock: a second or two. Longer ones are one recording."""

_USUAL_FPS = 60
"""Up to this a rate that a container tells is believed, however far apart its frames lie (slides, screens at rest)."""


_FIRST_FIELD: dict[int, Literal["top", "bottom"]] = {2: "top", 3: "bottom", 4: "bottom", 5: "top"}
"""By FFmpeg's AVFieldOrder: 4 and 5 are coded in the other order than they are shown."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One video stream.

    Attributes:
        width, height: of the upright picture, pixels.
        fps: average rate, exact.
        is_variable_rate: the spacing of the first frames differs by more than a quarter of a frame.
        num_frames: as the container says, None where it does not.
        duration_s: as the container says, from the container's origin, None where it does not.
        start_s: time of the first frame after the container's origin (see `VideoReader`).
        time_base: tick of the stream's times, seconds.
        codec: name of the coding format, e.g. "h264".
        pix_fmt: pixel format of the decoded frames, e.g. "yuv420p10le".
        bit_depth: bits per sample.
        colorspace, color_range, color_primaries, color_trc: ITU-T H.273 numbers, 2 (range: 0) = not said.
        rotation: degrees clockwise (0, 90, 180, 270) by which the stored picture is turned to stand upright.
        is_mirrored: the stored picture is also mirrored left-right, before the turn.
        sample_aspect: width / height of one pixel of the upright picture.
        is_interlaced: the first frame is interlaced; it is left so.
        first_field: of an interlaced picture, the one that is shown first; None = not said, or not interlaced.
        has_audio: the file has sound too.
        lag_s: how much the times of decoded frames run late. AVI stores no times of showing; with H.264 in it FFmpeg
            guesses them a frame late.
        hdr: HDR10 metadata of the first frame, None = none.
        dynamic_hdr: the name of others there that change from frame to frame, which are not written.
        has_captions: the first frame carries closed captions (CEA-608, CEA-708).
        has_hidden_alpha: the file has transparency that is not decoded (VP8 and VP9 keep it beside the picture).
    """

    width: int
    height: int
    fps: Fraction
    is_variable_rate: bool = False
    num_frames: int | None = None
    duration_s: Fraction | None = None
    start_s: Fraction = Fraction(0)
    time_base: Fraction = Fraction(1, 90000)
    codec: str = "h264"
    pix_fmt: str = "yuv420p"
    bit_depth: int = 8
    colorspace: int = 2
    color_range: int = 0
    color_primaries: int = 2
    color_trc: int = 2
    rotation: int = 0
    is_mirrored: bool = False
    sample_aspect: Fraction = Fraction(1)
    is_interlaced: bool = False
    first_field: Literal["top", "bottom"] | None = None
    has_audio: bool = False
    lag_s: Fraction = Fraction(0)
    hdr: Hdr | None = None
    dynamic_hdr: str | None = None
    has_captions: bool = False
    has_hidden_alpha: bool = False


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One audio stream: coding format, rate in Hz (0 = not said before its first packet, which may lie anywhere),
    layout such as "stereo" or "5.1", and times like `VideoInfo`. `number` is its place among the sound tracks."""

    codec: str
    rate_hz: int
    num_channels: int
    layout: str
    duration_s: Fraction | None
    start_s: Fraction
    bit_rate: int | None
    number: int = 0


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A media file. `origin_s` is the moment of the container's clock that all times count from; `audio` the chosen
    track of `sounds`; `timecode` the label of the first frame, as "01:00:00:00", None = not said."""

    path: Path
    container: str
    duration_s: Fraction | None
    origin_s: Fraction
    video: VideoInfo | None
    audio: AudioInfo | None
    metadata: dict[str, str]
    sounds: tuple[SoundTrackInfo, ...] = ()
    timecode: str | None = None


def probe(path: Path | str, track: str | None = None) -> MediaInfo:
    """Describe a media file. Where it tells no length, it is read through to find it.

    Args: track: which sound track `audio` is, see `tracks.audio_stream`.
    Raises: MediaError: the file is missing, a folder, empty, not media, has neither video nor sound, or no such track.
    """
    path = Path(path)
    with opened(path) as container:
        video, audio = video_stream(container), audio_stream(container, track)
        if video is None and audio is None:
            raise MediaError(f"{path}: there is neither video nor sound in it. Pass another file.")
        origin = origin_of(container)
        audio_info = _audio_info(audio, origin) if audio is not None else None
        container_s = Fraction(container.duration, 1_000_000) if container.duration else None
        name, metadata = container.format.name, dict(container.metadata)
        sounds, timecode = sound_tracks(container), _timecode(container)
        numbers = [None if stream is None else stream.index for stream in (video, audio)]
        video_info = _video_info(path, container, video, origin, audio is not None) if video is not None else None
    ends = joined_ends(path) if name in _JOINABLE else {}
    if not ends and any(info is not None and info.duration_s is None for info in (video_info, audio_info)):
        ends = stream_ends(path)
    if video_info is not None and numbers[0] in ends:
        video_info = replace(video_info, duration_s=ends[numbers[0]] - origin)
    if audio_info is not None and numbers[1] in ends:
        audio_info = replace(audio_info, duration_s=ends[numbers[1]] - origin)
    lengths = [info.duration_s for info in (video_info, audio_info) if info is not None and info.duration_s is not None]
    duration_s = max(lengths) if lengths else container_s
    return MediaInfo(path, name, duration_s, origin, video_info, audio_info, metadata, sounds, timecode)


def joined_ends(path: Path) -> dict[int, Fraction]:
    """When the streams of files put one after the other (`cat a.ts b.ts`) end, by stream, on their carried-on clock.

    Nothing but reading from the start finds a place in such a file: its clock starts again. Empty = not such a file, or
    longer than `_SCANNED_BYTES`. Nothing is decoded.
    """
    found = Path(path).stat()
    return _joined_ends(Path(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _joined_ends(path: Path, size: int, _mtime_ns: int) -> dict[int, Fraction]:
    ends: dict[int, Fraction] = {}
    decoded: dict[int, Fraction] = {}  # times in order of decoding, which tell a new clock from disorder
    shifts: dict[int, Fraction] = {}
    with opened(path) as container, suppress(FFmpegError):  # a broken tail: what came before it stands
        if container.format.name not in _JOINABLE or size > _SCANNED_BYTES:
            return {}
        for packet in container.demux():
            if packet.dts is None or packet.time_base is None:
                continue
            number, tick = packet.stream_index, packet.time_base
            at_s = packet.dts * tick
            shown_s = at_s if packet.pts is None else packet.pts * tick
            if at_s < decoded.get(number, at_s) - JUMP_S:
                shifts[number] = ends[number] - shown_s
            decoded[number] = at_s
            rate = getattr(packet.stream, "average_rate", None)
            length_s = packet.duration * tick if packet.duration else 1 / rate if rate else Fraction(0)
            end_s = shown_s + shifts.get(number, Fraction(0)) + length_s
            ends[number] = max(ends.get(number, end_s), end_s)
    return ends if shifts else {}


def stream_ends(path: Path) -> dict[int, Fraction]:
    """When the streams of a file end on its container's clock, by stream: found by reading it through, nothing is
    decoded. For files that tell no length, as browsers record them.
    """
    found = Path(path).stat()
    return _stream_ends(Path(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _stream_ends(path: Path, _size: int, _mtime_ns: int) -> dict[int, Fraction]:
    ends: dict[int, Fraction] = {}
    with opened(path) as container, suppress(FFmpegError):  # a broken tail: what came before it stands
        origin = origin_of(container)
        for packet in container.demux():
            if not packet.size:
                continue
            number = packet.stream_index
            rate = getattr(packet.stream, "average_rate", None)
            tick = packet.time_base or Fraction(0)
            length_s = packet.duration * tick if packet.duration else 1 / rate if rate else Fraction(0)
            start_s = ends.get(number, origin) if packet.pts is None else packet.pts * tick
            ends[number] = max(ends.get(number, origin), start_s + length_s)
    return ends


def _timecode(container: av.container.InputContainer) -> str | None:
    """The label of the first frame: of the picture, else of a timecode track, else of the file."""
    video = video_stream(container)
    places = ([] if video is None else [video.metadata]) + [each.metadata for each in container.streams.data]
    for tags in (*places, container.metadata):
        for key, text in tags.items():
            if key.lower() == "timecode" and text:
                return text
    return None


def _audio_info(stream: av.AudioStream, origin: Fraction) -> AudioInfo:
    context = stream.codec_context
    tick = stream.time_base or Fraction(1, context.sample_rate or 1)
    start = max((stream.start_time or 0) * tick, Fraction(0)) - origin
    known = stream.duration is not None
    duration = start + stream.duration * tick if known else _container_length(stream.container)  # type: ignore[operator]
    layout = layout_name(context)
    number = list(stream.container.streams.audio).index(stream)
    begins = max(start, Fraction(0))
    return AudioInfo(
        context.name, context.sample_rate, context.channels, layout, duration, begins, context.bit_rate, number
    )


def _container_length(container: object) -> Fraction | None:
    duration = getattr(container, "duration", None)
    return Fraction(duration, 1_000_000) if duration else None


def _video_info(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, origin: Fraction, has_audio: bool
) -> VideoInfo:
    frame, times = _first_frame(container, stream)
    if frame is None:
        raise MediaError(f"{path}: no picture can be decoded from it. Export it again, or pass another file.")
    tick = stream.time_base or Fraction(1, 90000)
    quarters, mirrored = orientation(frame)
    width, height = (frame.height, frame.width) if quarters % 2 else (frame.width, frame.height)
    aspect = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1) or Fraction(1)
    start = (stream.start_time * tick - origin) if stream.start_time is not None else Fraction(0)
    steps = np.diff(np.sort(np.array(sorted(set(times)), dtype=np.int64)))
    fps = _average_rate(stream, steps, tick)
    varies = len(steps) > 1 and float(steps.max() - steps.min()) * float(tick * fps) > 0.25
    context = stream.codec_context
    return VideoInfo(
        width=width,
        height=height,
        fps=fps,
        is_variable_rate=bool(varies),
        num_frames=stream.frames or None,
        duration_s=start + stream.duration * tick if stream.duration is not None else _container_length(container),
        start_s=start,
        time_base=tick,
        codec=context.name,
        pix_fmt=frame.format.name,
        bit_depth=8 if frame.format.has_palette else max(part.bits for part in frame.format.components),
        colorspace=int(frame.colorspace),
        color_range=int(frame.color_range),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
        rotation=quarters * 90,
        is_mirrored=mirrored,
        sample_aspect=1 / aspect if quarters % 2 else aspect,
        is_interlaced=bool(frame.interlaced_frame),
        first_field=_FIRST_FIELD.get(int(getattr(context, "field_order", 0))) if frame.interlaced_frame else None,
        has_audio=has_audio,
        lag_s=_lag(container, stream, frame) * tick,
        hdr=hdr_of(frame),
        dynamic_hdr=dynamic_hdr_of(frame),
        has_captions=frame.side_data.get("A53_CC") is not None,
        has_hidden_alpha=stream.metadata.get("alpha_mode") == "1"
        and not any(part.is_alpha for part in frame.format.components),
    )


def _lag(container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame) -> int:
    if "avi" not in container.format.name.split(",") or first.pts is None or stream.start_time is None:
        return 0
    return first.pts - stream.start_time


def _average_rate(stream: av.VideoStream, steps: np.ndarray, tick: Fraction) -> Fraction:
    """The average rate as the container says, else as the packets' times say, else as FFmpeg guesses.

    A guess may be the container's clock (1000 a second in Matroska), and so may what containers say. A rate is not
    believed where even the shortest spacings (the least tenth of them) are more than twice as long as its frames.

    Args:
        steps: ticks between the times of packets next to each other, at least 1.
    """
    shortest_s = float(np.quantile(steps, 0.1) * tick) if len(steps) else 1 / _USUAL_FPS
    most = max(_USUAL_FPS, 2 / shortest_s)
    if stream.average_rate and 0 < stream.average_rate <= min(most, 1000):
        return Fraction(stream.average_rate)
    if len(steps):
        usual = steps[np.abs(steps - np.median(steps)) <= np.median(steps) / 2]  # pauses apart; times may tremble
        if usual.sum() * tick > 0:  # damaged times may jump by more than there is
            return Fraction(len(usual), int(usual.sum())) / tick
    for rate in (stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= most:
            return Fraction(rate)
    return Fraction(25)


def _first_frame(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[av.VideoFrame | None, list[int]]:
    """The first frame that decodes, and the times (in ticks) of the packets looked at, in file order."""
    first: av.VideoFrame | None = None
    times: list[int] = []
    try:
        for number, packet in enumerate(container.demux(stream)):
            if packet.pts is not None:
                times.append(packet.pts)
            if first is None:
                try:
                    first = next(iter(packet.decode()), None)  # type: ignore[assignment]
                except FFmpegError:
                    continue
            if number >= (_SPACING_PACKETS if first is not None else _FIRST_FRAME_PACKETS):
                break
    except FFmpegError:
        pass  # a broken tail: what came before it stands
    # The last packets may wait for frames shown before them: only times below the newest few are complete.
    return first, sorted(times)[:-4] if len(times) > 8 else times
