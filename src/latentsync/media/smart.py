"""Smart render: groups of pictures without an edited frame are copied as they are, the others are encoded anew.

Frames that are not edited are not held: should a later frame of their group be edited, they are decoded once more. In
H.264 both encoders' parameter sets lie side by side in the file's header under numbers of their own, so that copied
packets stay equal to the bit. x265 cannot number its own: in HEVC the source's are repeated in the first packet after
an encoded part, which .mp4 and .mov do not allow under `hvc1`; so HEVC is copied into .mkv only.

Times of decoding are made anew for all packets: packet k is decoded when frame k − D is shown, D being the deepest
order of either encoder. Groups are closed, so this rises, and never comes after the packet's own time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from latentsync.core.errors import MediaError
from latentsync.core.values import Frame
from latentsync.media.information import VideoInfo, joined_ends
from latentsync.media.opening import opened
from latentsync.media.parameter_sets import (
    AvcConfig,
    annex_b_units,
    begins_group,
    hevc_parameters,
    with_lengths,
)
from latentsync.media.reader import VideoReader
from latentsync.media.tracks import origin_of, video_stream

ENCODERS = {"h264": "libx264", "hevc": "libx265"}
CONTAINERS = {"h264": (".mp4", ".m4v", ".mov", ".mkv"), "hevc": (".mkv",)}
ENCODER_DEPTH = 2
"""Pictures that x264 and x265 keep back at most, with B-frames that others refer to."""


@dataclass(frozen=True, slots=True)
class SmartPlan:
    """What may be copied: frames of `path` from `start_s` that are written before `until_s` of the result."""

    path: Path
    start_s: Fraction = Fraction(0)
    until_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class SourceGroups:
    """The packets of a film, by closed group.

    Attributes:
        first: of each group, the number of its first packet; one more at the end, the number of packets.
        times: of each frame in the order of showing, ticks; they lie in groups as packets do.
        depth: pictures that are decoded before one that is shown earlier, at most.
    """

    plan: SmartPlan
    codec: str
    tick: Fraction
    origin_s: Fraction
    extradata: bytes
    length_size: int
    first: tuple[int, ...]
    times: tuple[int, ...]
    depth: int


def source_groups(plan: SmartPlan, like: VideoInfo, suffix: str, encoder: str, pixel_format: str) -> SourceGroups | str:
    """The groups of a film that can be copied into a file of that kind, else why not, in words."""
    if like.codec not in ENCODERS or encoder != ENCODERS[like.codec]:
        return "only H.264 and HEVC that stay what they are can be copied"
    if suffix not in CONTAINERS[like.codec]:
        return f"{like.codec.upper()} is copied into {', '.join(CONTAINERS[like.codec])} only"
    if pixel_format != like.pix_fmt:
        return f"the pixel format changes from {like.pix_fmt} to {pixel_format}"
    if like.rotation or like.is_mirrored or like.is_interlaced:
        return "the video is turned or interlaced"
    if joined_ends(plan.path):
        return "its clock starts again on the way"
    return _scanned(plan, like.codec)


def _scanned(plan: SmartPlan, codec: str) -> SourceGroups | str:
    with opened(plan.path) as container:
        stream = video_stream(container)
        if stream is None or stream.time_base is None:
            return "it has no picture"
        extradata = bytes(stream.codec_context.extradata or b"")
        avc, hevc = AvcConfig.parse(extradata), hevc_parameters(extradata)
        length_size = (avc.length_size if avc else 0) if codec == "h264" else (hevc[0] if hevc else 0)
        if not length_size:
            return "its container has no header for the decoder; copy it to .mp4 or .mkv before"
        first, order = list[int](), list[int]()
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None:
                return "it has packets without a time"
            if packet.is_keyframe and begins_group(bytes(packet), codec, length_size):
                first.append(len(order))
            order.append(packet.pts)
        tick, origin_s = stream.time_base, origin_of(container)
    if not first or first[0] or len(first) < 2:
        return "it has no closed groups of pictures to copy"
    first.append(len(order))
    times, depth = list[int](), 0
    for start, end in pairwise(first):
        shown = sorted(order[start:end])
        if (times and shown[0] <= times[-1]) or len(set(shown)) < len(shown):
            return "its groups of pictures are not closed"
        rank = {pts: place for place, pts in enumerate(shown)}
        depth = max(depth, *(place - rank[pts] for place, pts in enumerate(order[start:end])))
        times += shown
    return SourceGroups(plan, codec, tick, origin_s, extradata, length_size, tuple(first), tuple(times), depth)


class SmartStream:
    """The picture of a written file, copied where it can be.

    Args:
        make_encoder: a closed encoder with these further parameters (x264-params and the like).
        as_written: a frame in the pixel format of the file, without its time.
        clock: tick of the file.
    """

    def __init__(
        self,
        groups: SourceGroups,
        like: VideoInfo,
        make_encoder: Callable[[dict[str, str]], Any],
        as_written: Callable[[Frame], av.VideoFrame],
        clock: Fraction,
    ) -> None:
        self.num_copied = 0
        self._groups, self._like, self._as_written, self._clock = groups, like, as_written, clock
        self._resources = ExitStack()
        self._place = {pts: number for number, pts in enumerate(groups.times)}
        self._config = AvcConfig.parse(groups.extradata) if groups.codec == "h264" else None
        self._parameters = (
            {"repeat-headers": "1"} if self._config is None else {"sps-id": f"{self._config.unused_id()}"}
        )
        self._make_encoder = make_encoder
        self._encoder: Any = None
        self._source: Iterator[av.Packet] = iter(())
        self._stream: Any = None
        self._group: int | None = None
        self._held: list[int] = []  # times in the file of the frames of the group so far, while it may be copied
        self._holds = False
        self._shown: list[int] = []
        self._num_packets = 0
        self._depth = max(groups.depth, ENCODER_DEPTH)
        self._step = max(1, round(1 / (like.fps * clock)))
        self._was_encoded = False

    def add_to(self, output: Any) -> Any:
        """The stream, added to a container before its first packet."""
        container = self._resources.enter_context(opened(self._groups.plan.path))
        source = video_stream(container)
        assert source is not None
        self._source = (packet for packet in container.demux(source) if packet.size)
        self._taken = 0
        self._stream = output.add_stream_from_template(source)
        self._stream.time_base = self._clock
        if self._config is not None:
            encoder = self._opened()
            self._stream.codec_context.extradata = self._config.joined(bytes(encoder.extradata)).packed()
        return self._stream

    def take(self, frame: Frame, is_edited: bool, pts: int) -> list[av.Packet]:
        """The packets that are ready after one more frame. Args: pts: its time in the file, in its clock."""
        number = None if self._is_past(frame) else self._number(frame)
        group = None if number is None else bisect_right(self._groups.first, number) - 1
        out: list[av.Packet] = []
        if group != self._group:
            out += self._given_up()
            self._group = group
            self._holds = group is not None and number == self._groups.first[group]
        follows = group is not None and number == self._groups.first[group] + len(self._held)
        if self._holds and (is_edited or not follows):
            out += self._given_up()
        if self._holds and group is not None:
            self._held.append(pts)
            if len(self._held) == self._groups.first[group + 1] - self._groups.first[group]:
                out += self._closed()
                out += self._copied(group)
                self._held, self._group, self._holds = [], None, False
            return out
        return out + self._encoded(frame, pts)

    def finish(self) -> list[av.Packet]:
        """The last packets."""
        return self._given_up() + self._closed()

    def close(self) -> None:
        self._resources.close()

    def _is_past(self, frame: Frame) -> bool:
        until_s = self._groups.plan.until_s
        return until_s is not None and frame.time_s >= until_s

    def _number(self, frame: Frame) -> int | None:
        """Which frame of the source this is, None = none."""
        groups = self._groups
        pts = (frame.time_s + groups.plan.start_s + groups.origin_s) / groups.tick
        return self._place.get(int(pts)) if pts.denominator == 1 else None

    def _given_up(self) -> list[av.Packet]:
        """The frames of the group so far encoded after all: decoded once more."""
        held, self._held, self._holds = self._held, [], False
        if not held or self._group is None:
            return []
        groups, first = self._groups, self._groups.first[self._group]
        spans = [groups.times[first + at] * groups.tick - groups.origin_s for at in (0, len(held) - 1)]
        out: list[av.Packet] = []
        num_read = 0
        with VideoReader(groups.plan.path, spans[0], spans[1] + groups.tick, self._like) as reader:
            for again, pts in zip(reader, held, strict=False):
                out += self._encoded(again, pts)
                num_read += 1
        if num_read != len(held):
            raise MediaError(f"{groups.plan.path}: jumps in it are not exact. Leave --render smart out")
        return out

    def _opened(self) -> Any:
        encoder = self._make_encoder(self._parameters)
        encoder.open(strict=False)
        return encoder

    def _encoded(self, frame: Frame, pts: int) -> list[av.Packet]:
        if self._encoder is None:
            self._encoder = self._opened()
        made = self._as_written(frame)
        made.pts, made.time_base, made.pict_type = pts, self._clock, 0
        self._shown.append(pts)
        return [self._own(packet) for packet in self._encoder.encode(made)]

    def _closed(self) -> list[av.Packet]:
        """The rest of an encoded part."""
        if self._encoder is None:
            return []
        packets, self._encoder, self._was_encoded = self._encoder.encode(None), None, True
        return [self._own(packet) for packet in packets]

    def _own(self, packet: Any) -> av.Packet:
        units = list(annex_b_units(bytes(packet)))
        made = av.Packet(with_lengths(units, self._groups.length_size))
        made.is_keyframe = packet.is_keyframe
        return self._stamped(made, packet.pts)

    def _copied(self, group: int) -> list[av.Packet]:
        groups = self._groups
        first, end = groups.first[group], groups.first[group + 1]
        written = dict(zip(groups.times[first:end], self._held, strict=True))
        self._shown += self._held
        out = []
        while self._taken < end:
            packet = next(self._source)
            self._taken += 1
            if self._taken <= first:
                continue
            pts = packet.pts
            if self._was_encoded and groups.codec == "hevc":
                found = hevc_parameters(groups.extradata)
                own = with_lengths(found[1] if found else (), groups.length_size)
                again = av.Packet(own + bytes(packet))
                again.is_keyframe, packet = packet.is_keyframe, again
            self._was_encoded = False
            out.append(self._stamped(packet, written[pts]))  # type: ignore[index]
        self.num_copied += end - first
        return out

    def _stamped(self, packet: Any, pts: int) -> av.Packet:
        at = self._num_packets - self._depth
        self._num_packets += 1
        packet.stream, packet.time_base = self._stream, self._clock
        packet.pts, packet.duration = pts, self._step
        packet.dts = self._shown[at] if at >= 0 else self._shown[0] + at * self._step
        return packet
