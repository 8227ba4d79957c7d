"""The sound of a written video: packets copied as they are, or encoded anew, cut to a length."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import av
from av.error import FFmpegError

from latentsync.core.errors import ConfigError, EmptyAudioError
from latentsync.core.values import Float
from latentsync.media.audio import SoundDecoder, packed_frame, rebuffer
from latentsync.media.codecs import audio_encoder_for, audio_layout_for, can_copy_audio
from latentsync.media.further import Further
from latentsync.media.information import AudioInfo, joined_ends, probe
from latentsync.media.mixing import MixPlan
from latentsync.media.opening import opened
from latentsync.media.tracks import DEFAULT, audio_stream, origin_of, tags_for

log = logging.getLogger(__name__)

_FEED_SAMPLES = 8192
USUAL_RATE_HZ = 48_000
"""Of sound that does not say its own before it begins."""


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """Which sound goes into a written video.

    Attributes:
        path: any file with sound.
        start_s: the moment of its sound (from its container's origin) that meets time 0 of the video.
        duration_s: how much of it; None = up to the end of the last frame.
        mode: "copy" = the packets as they are where the container can hold them (cut at packet borders, a few
            hundredths of a second), encoded where it cannot; "encode" = always encode (cut at the exact sample);
            "none" = no sound.
        track: of its sound tracks, see `tracks.audio_stream`.
    """

    path: Path
    start_s: Fraction = Fraction(0)
    duration_s: Fraction | None = None
    mode: Literal["copy", "encode", "none"] = "copy"
    track: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("copy", "encode", "none"):
            raise ConfigError("keep_audio", self.mode, "choose one of copy, encode, none")


class SoundTrack(Protocol):
    """A sound stream of a container, fed step by step, so that it lies beside the pictures it belongs to."""

    def feed(self, until_s: Fraction) -> None:
        """Write the sound that starts before `until_s`, and no more than the plan's duration."""
        ...

    def finish(self, end_s: Fraction) -> None:
        """Write the rest: up to the plan's duration, or to `end_s`, the end of the last frame, where it has none."""
        ...

    def close(self) -> None:
        """Close the source."""
        ...


def further_sounds(further: Further) -> Iterator[AudioPlan]:
    """The sound tracks of a film that go along with a speech."""
    numbers = {index: str(number) for number, index in enumerate(further.sound_indices)}
    for each in further.streams:
        if each.kind == "sound" and each.written is not None:
            yield AudioPlan(further.path, further.start_s, further.duration_s, track=numbers[each.index])


def open_track(
    output: av.container.OutputContainer, suffix: str, plan: AudioPlan | MixPlan, is_default: bool = True
) -> SoundTrack:
    """Add a sound stream to a container, before its first packet.

    Args:
        suffix: of the written file, decides what can be copied.
        plan: what to put in; its mode is not "none".
        is_default: it is played where nobody chooses.
    Raises: MediaError: the sound cannot be read. EmptyAudioError: there is none.
    """
    if isinstance(plan, MixPlan):
        return EncodedTrack(output, suffix, plan.info(), plan.samples)
    found = probe(plan.path, plan.track)
    info = found.audio
    if info is None:
        raise EmptyAudioError(f"{plan.path}: no sound in it. Pass a file with speech.")
    tags = found.sounds[info.number].tags
    is_joined = bool(joined_ends(plan.path))  # its packets' times start again
    if plan.mode == "copy" and can_copy_audio(suffix, info.codec) and not is_joined and info.rate_hz:
        return CopiedTrack(output, suffix, plan, tags, is_default)
    if plan.mode == "copy" and not is_joined:
        log.info("%s: %s sound cannot lie in %s, it is encoded", plan.path, info.codec, suffix)

    def samples(rate_hz: int, layout: str) -> Iterator[Float]:
        return rebuffer(
            SoundDecoder(plan.path, rate_hz, layout, plan.start_s, track=plan.track).samples(), _FEED_SAMPLES
        )

    return EncodedTrack(output, suffix, info, samples, plan.duration_s, tags, is_default)


def _mark(stream: Any, tags: Mapping[str, str], is_default: bool) -> None:
    """Say of a sound track what language it is in, and whether it is played where nobody chooses."""
    stream.metadata.update(tags)
    stream.disposition = DEFAULT if is_default else 0


class CopiedTrack:
    """Packets as they are. The first one may begin up to half a packet before the start, the last ends after the end.

    Codecs begin with a run-in before time 0. mp4 and Opus say so in the file and the run-in is copied. What Matroska
    says of it goes along to Matroska, and FFmpeg from 8.1 on takes as much off the first packet, whichever that is: so
    the run-in is copied there too. Elsewhere its packets are left out, because the container would move sound or
    picture to make room for them: AAC from mp4 keeps its time in Matroska, but its first packet (21 ms at 48 kHz) is
    decoded without the one before it, which distorts a sound that is loud at once. Where a later part is copied from
    Matroska to Matroska, the first packet lies before the start by the run-in or less, because that is taken off.

    Matroska rounds times to milliseconds; packets that follow each other within that are written end to end.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        suffix: str,
        plan: AudioPlan,
        tags: Mapping[str, str],
        is_default: bool = True,
    ) -> None:
        self._output, self._plan = output, plan
        self._resources = ExitStack()
        container = self._resources.enter_context(opened(plan.path))
        source = audio_stream(container, plan.track)
        if source is None:
            raise EmptyAudioError(f"{plan.path}: no sound in it. Pass a file with speech.")
        is_padded = "matroska" in container.format.name or getattr(source.codec_context, "initial_padding", 0) > 0
        says_so = suffix in (".mkv", ".webm") and is_padded  # PyAV 17 and 18 do not tell the padding
        is_opus = source.codec_context.name.startswith("opus")
        self._keeps_run_in = suffix in (".mp4", ".mov", ".m4v") or is_opus or says_so
        self._loses_run_in = says_so and "matroska" in container.format.name
        self._target = output.add_stream_from_template(source)
        _mark(self._target, tags_for(suffix, tags), is_default)
        self._packets = self._source_packets(container, source)
        self._waiting: tuple[Fraction, av.Packet] | None = None

    def feed(self, until_s: Fraction) -> None:
        if self._plan.duration_s is not None:
            until_s = min(until_s, self._plan.duration_s)
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or self._waiting[0] >= until_s:
                return
            self._output.mux(self._waiting[1])
            self._waiting = None

    def finish(self, end_s: Fraction) -> None:
        self.feed(end_s if self._plan.duration_s is None else self._plan.duration_s)

    def close(self) -> None:
        self._packets.close()
        self._resources.close()

    def _source_packets(
        self, container: av.container.InputContainer, source: av.AudioStream
    ) -> Generator[tuple[Fraction, av.Packet], None, None]:
        context = source.codec_context
        tick = source.time_base or Fraction(1, context.sample_rate)
        start = self._plan.start_s + origin_of(container)
        whole = Fraction(context.frame_size or 0, context.sample_rate)
        clock = _PacketClock(tick, whole) if tick * context.sample_rate > 1 and whole > tick else None
        following, before = 0, None
        run_in = Fraction(0)
        try:
            if self._plan.start_s > 0:
                if self._loses_run_in:
                    first = next(container.demux(source))
                    run_in = max(Fraction(0), -(first.pts or 0) * tick)
                container.seek(int((start - run_in) / tick // 1), stream=source, backward=True)
            for packet in container.demux(source):
                if packet.size == 0:
                    continue
                pts = packet.pts if packet.pts is not None else following
                if not packet.duration and before is not None:  # ALAC in Matroska: mp4 would leave the last one out
                    packet.duration = pts - before
                following, before = pts + (packet.duration or 0), pts
                at = pts * tick - start
                length = Fraction(packet.duration or 0) * tick
                if self._plan.start_s > 0 and at < -(run_in or length / 2):
                    continue
                if not self._keeps_run_in and at + length * 3 / 4 < 0:
                    continue
                if clock is None:
                    packet.pts = packet.dts = pts - round(start / tick)
                else:
                    at = clock.at(pts * tick) - start
                    packet.time_base, packet.duration = Fraction(1, context.sample_rate), context.frame_size
                    packet.pts = packet.dts = round(at * context.sample_rate)
                packet.stream = self._target
                yield at, packet
        except FFmpegError as error:
            log.warning("%s: its sound is damaged and ends early (%s)", self._plan.path, error.strerror)


class _PacketClock:
    """Times of packets of one length, from times rounded to a tick that is coarser than a sample."""

    def __init__(self, tick: Fraction, whole: Fraction) -> None:
        """Args: whole: length of a packet, seconds."""
        self._tick, self._whole = tick, whole
        self._following: Fraction | None = None

    def at(self, given_s: Fraction) -> Fraction:
        """The end of the packet before, or of whole packets from 0 on, where that rounds to what is reported."""
        if self._following is None:
            exact, within = round(given_s / self._whole) * self._whole, self._tick / 2
        else:
            exact, within = self._following, self._tick
        if abs(exact - given_s) > within:
            exact = given_s
        self._following = exact + self._whole
        return exact


class EncodedTrack:
    """Sound decoded, placed at the exact sample, and encoded at a rate that is not heard."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        suffix: str,
        info: AudioInfo,
        source: Callable[[int, str], Iterator[Float]],
        duration_s: Fraction | None = None,
        tags: Mapping[str, str] | None = None,
        is_default: bool = True,
    ) -> None:
        """Args: source: gives (channels, n) blocks at a rate and in a layout, those of `info` where they can be."""
        name, rate_per_channel = audio_encoder_for(suffix)
        self._output, self._layout, self._duration_s = output, audio_layout_for(name, info.layout), duration_s
        wanted_hz = info.rate_hz or USUAL_RATE_HZ
        rates = av.Codec(name, "w").audio_rates or [wanted_hz]
        higher = [rate for rate in rates if rate >= wanted_hz]
        self._rate = min(higher) if higher else max(rates)
        self._stream: av.AudioStream = output.add_stream(name, rate=self._rate)  # type: ignore[assignment]
        _mark(self._stream, tags_for(suffix, tags or {}), is_default)
        self._stream.codec_context.layout = self._layout
        if rate_per_channel is not None:
            self._stream.codec_context.bit_rate = rate_per_channel * len(av.AudioLayout(self._layout).channels)
        self._pieces = source(self._rate, self._layout)
        self._piece: Float | None = None
        self._done = 0

    def feed(self, until_s: Fraction) -> None:
        if self._duration_s is not None:
            until_s = min(until_s, self._duration_s)
        target = round(until_s * self._rate)
        while self._done < target:
            if self._piece is None:
                self._piece = next(self._pieces, None)
            if self._piece is None:
                return
            head, rest = self._piece[:, : target - self._done], self._piece[:, target - self._done :]
            self._piece = rest if rest.shape[1] else None
            frame = packed_frame(head, self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += head.shape[1]
            self._output.mux(self._stream.encode(frame))

    def finish(self, end_s: Fraction) -> None:
        self.feed(end_s if self._duration_s is None else self._duration_s)
        self._output.mux(self._stream.encode(None))

    def close(self) -> None:
        if isinstance(self._pieces, Generator):
            self._pieces.close()
