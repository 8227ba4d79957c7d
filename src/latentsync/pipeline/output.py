"""Whether a result can be written as asked, and what of the video goes along into it."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from latentsync.config.options import SyncOptions
from latentsync.core.errors import MediaError
from latentsync.core.timecode import timecode_from
from latentsync.media.codecs import container_of
from latentsync.media.further import further_of
from latentsync.media.information import MediaInfo, VideoInfo, probe
from latentsync.media.opening import opened
from latentsync.media.smart import SmartPlan
from latentsync.media.tracks import origin_of, video_stream
from latentsync.media.writer import VideoWriter, check_beat

_LOOKED_AT = 1500
"""Packets whose times are looked at: a minute."""


def going_along(
    media: MediaInfo, out_path: Path, options: SyncOptions, is_plan: bool, first_pass_s: Fraction | None
) -> dict[str, Any]:
    """What of a video goes along beside its new pictures and the speech, as `VideoWriter` takes it.

    Args:
        is_plan: the video's own sound is spoken over.
        first_pass_s: of the part whose frames are used, until they come again; None = not known.
    """
    suffix, start_s = container_of(out_path), options.start_s or Fraction(0)
    timecode = None
    if media.video is not None:
        timecode = timecode_from(media.timecode, media.video.fps, start_s - media.video.start_s)
    further = None
    if options.tracks == "keep":
        track = options.audio_track if is_plan else None
        further = further_of(media.path, suffix, track, start_s, first_pass_s, options.keep_audio != "none")
    smart = SmartPlan(media.path, start_s, first_pass_s) if options.render == "smart" else None
    return {"timecode": timecode, "further": further, "smart": smart}


def check_output(video_path: Path, out_path: Path, options: SyncOptions, is_plan: bool = False) -> tuple[str, ...]:
    """Refuse a result that cannot be written as asked, before any weights are read.

    Returns: what of the video cannot go along into such a file, a sentence each.
    Raises: MediaError: the video cannot be read, has no picture, or `out_path` is no kind of file that is written.
        Or it is an .avi, which has one rate, and the first frames do not keep to one.
        ConfigError: codec, crf or pixel format do not fit.
    """
    media = probe(video_path)
    info = media.video
    if info is None:
        raise MediaError(f"{video_path}: there is no picture in it. Pass a video")
    beside = going_along(media, out_path, options, is_plan, None)
    # not opened: nothing is written
    writer = VideoWriter(out_path, info, options.codec, options.crf, options.pixel_format, **beside)
    if info.is_variable_rate:
        check_beat(out_path, writer.clock, _packet_times(video_path, info, options))
    return writer.losses


def _packet_times(path: Path, info: VideoInfo, options: SyncOptions) -> list[Fraction]:
    """Times of the first frames of the part to use, as `VideoReader` gives them; nothing is decoded."""
    with opened(path) as container:
        stream = video_stream(container)
        if stream is None:
            return []
        tick, origin = stream.time_base or Fraction(1, 90000), origin_of(container)
        start_s = options.start_s or Fraction(0)
        times: list[Fraction] = []
        with suppress(FFmpegError):  # damage is the run's to tell
            if start_s > info.start_s:
                container.seek(int((start_s + origin) / tick), stream=stream)
            for packet in islice(container.demux(stream), _LOOKED_AT):
                if packet.pts is not None:
                    times.append(packet.pts * tick - origin - info.lag_s)
    until_s = max(times, default=start_s) if options.end_s is None else options.end_s
    return [time_s for time_s in sorted(times) if start_s <= time_s < until_s]
