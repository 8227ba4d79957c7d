"""What a film has beside the picture and the sound that a run replaces: further sound tracks, subtitles, chapters,
attachments and a cover. What its container can hold goes into the written file; what it cannot is reported.

                     .mp4 .m4v .mov      .mkv                              .webm               .avi
sound tracks         copied, or encoded where the container cannot hold them; .avi too
text subtitles       as mov_text         as they are; mov_text as subrip   as webvtt           no
picture subtitles    no                  as they are                       no                  no
chapters             yes                 yes                               yes                 no
attachments (fonts)  no                  yes                               no                  no
cover                no                  as an attachment                  no                  no

(mp4 files have either a cover or tags of any name; ours say with theirs that the lips are synthetic.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.error import FFmpegError

from latentsync.media.opening import opened
from latentsync.media.tracks import (
    audio_stream,
    disposition_of,
    is_cover,
    origin_of,
    sound_tracks,
    tags_for,
    video_stream,
)

Kind = Literal["sound", "subtitle", "attachment", "cover", "picture", "data"]

MATROSKA = (".mkv",)
TEXT = ("subrip", "srt", "mov_text", "webvtt", "text", "ass", "ssa")
"""Subtitles of letters, which can be written as another kind of these."""
PICTURES = ("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle")
WRITTEN_AS = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}
KEPT_TAGS = ("language", "title", "handler_name")
COVERS = {"png": ("cover.png", "image/png"), "mjpeg": ("cover.jpg", "image/jpeg")}

_STYLE = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
"""What FFmpeg's mov_text encoder asks for to write its header."""


@dataclass(frozen=True, slots=True)
class FurtherStream:
    """One stream beside picture and speech. `index` in the container; `written` = what it becomes, None = it cannot go
    along."""

    index: int
    kind: Kind
    words: str
    written: str | None


@dataclass(frozen=True, slots=True)
class Further:
    """What goes along with a run.

    Attributes:
        path: of the film.
        start_s, duration_s: the part of it whose frames are shown once and forwards.
        streams: all of them. chapters: of that part, as PyAV takes them. tags: of the picture.
        sound_indices: of all sound tracks of the film, in order.
        losses: what of it cannot go along, a sentence each.
    """

    path: Path
    start_s: Fraction
    duration_s: Fraction | None
    streams: tuple[FurtherStream, ...]
    chapters: tuple[dict[str, Any], ...]
    tags: dict[str, str]
    losses: tuple[str, ...]
    sound_indices: tuple[int, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What goes along, for people."""
        chapters = (f"{len(self.chapters)} chapters",) if self.chapters else ()
        return (*(each.words for each in self.streams if each.written is not None), *chapters)


def further_of(
    path: Path,
    suffix: str,
    speech_track: str | None = None,
    start_s: Fraction | None = None,
    duration_s: Fraction | None = None,
    with_sound: bool = True,
) -> Further:
    """What of a film goes along into a file of that suffix beside its picture and its speech.

    Args:
        speech_track: the sound track that the speech takes the place of, see `tracks.audio_stream`.
        start_s, duration_s: the part of the film that is used, in its own time.
        with_sound: sound tracks go along.
    Raises: MediaError: it cannot be read.
    """
    start_s = start_s or Fraction(0)
    with opened(path) as container:
        replaced = audio_stream(container, speech_track)
        picture = video_stream(container)
        streams = []
        for stream in container.streams:
            if stream is replaced or stream is picture or (stream.type == "audio" and not with_sound):
                continue
            if (found := _further_stream(container, stream, suffix)) is not None:
                streams.append(found)
        origin = origin_of(container)
        chapters = _chapters(container, start_s + origin, duration_s)
        tags = {} if picture is None else _kept(picture)
        sounds = tuple(stream.index for stream in container.streams.audio)
    losses = [f"{each.words}: cannot lie in {suffix}, left out of the result" for each in streams if not each.written]
    losses += [
        f"{each.words}: go into {suffix} without their styles" for each in streams
        if each.words.startswith(("ass", "ssa")) and each.written not in (None, "ass", "ssa")
    ]  # fmt: skip
    if chapters and suffix == ".avi":
        losses.append(f"{len(chapters)} chapters: cannot lie in {suffix}, left out of the result")
        chapters = ()
    if losses and suffix not in MATROSKA:
        losses[-1] += ". Write .mkv to keep more"
    return Further(Path(path), start_s, duration_s, tuple(streams), chapters, tags, tuple(losses), sounds)


def _further_stream(container: Any, stream: Any, suffix: str) -> FurtherStream | None:
    context = stream.codec_context
    codec = "unknown" if context is None else context.codec.canonical_name
    language = stream.metadata.get("language", "")
    given = f" ({language})" if language not in ("", "und") else ""
    index = stream.index
    if stream.type == "audio":
        number = list(container.streams.audio).index(stream)
        return FurtherStream(index, "sound", f"sound track {sound_tracks(container)[number].words}", _sound(context))
    if stream.type == "subtitle":
        return FurtherStream(index, "subtitle", f"{codec} subtitles{given}", _subtitle(codec, suffix))
    if stream.type == "attachment":
        name = stream.metadata.get("filename", "without a name")
        return FurtherStream(index, "attachment", f"attachment {name}", codec if suffix in MATROSKA else None)
    if stream.type == "video" and is_cover(stream):
        written = codec if codec in COVERS and suffix in MATROSKA else None
        return FurtherStream(index, "cover", "the cover picture", written)
    if stream.type == "video":
        return FurtherStream(index, "picture", f"a further {codec} picture{given}", None)
    handler = stream.metadata.get("handler_name", "")
    if "timecode" in stream.metadata or (container.chapters() and handler in ("SubtitleHandler", "Chapters", "")):
        return None  # written anew, by timecode and chapters
    return FurtherStream(index, "data", f"a data track {handler or codec}", None)


def _sound(context: Any) -> str | None:
    return None if context is None else "sound"


def _subtitle(codec: str, suffix: str) -> str | None:
    """What subtitles are written as."""
    if suffix in MATROSKA:
        return "subrip" if codec in ("mov_text", "text") else codec if codec in (*TEXT, *PICTURES) else None
    return WRITTEN_AS.get(suffix) if codec in TEXT else None


def _kept(stream: Any) -> dict[str, str]:
    return {key.lower(): text for key, text in stream.metadata.items() if key.lower() in KEPT_TAGS and text != "und"}


def _chapters(container: Any, start: Fraction, duration_s: Fraction | None) -> tuple[dict[str, Any], ...]:
    """Those of a part of a film, in its time. Args: start: on the container's clock, seconds."""
    out: list[dict[str, Any]] = []
    for chapter in container.chapters():
        first, last = (chapter[key] * chapter["time_base"] - start for key in ("start", "end"))
        if duration_s is not None:
            last = min(last, duration_s)
        if last > max(first, 0):
            times = {"start": round(max(first, Fraction(0)) * 1000), "end": round(last * 1000)}
            out.append({**chapter, **times, "id": len(out) + 1, "time_base": Fraction(1, 1000)})
    return tuple(out)


class FurtherTracks:
    """Subtitles, attachments, cover and chapters, written beside the pictures that they belong to (`SoundTrack`)."""

    def __init__(self, output: av.container.OutputContainer, suffix: str, further: Further) -> None:
        self._output, self._suffix, self._further = output, suffix, further
        self._resources = ExitStack()
        self._container: Any = self._resources.enter_context(opened(further.path))
        self._targets: dict[int, tuple[Any, str, str]] = {}
        for each in further.streams:
            if each.written is not None and each.kind != "sound":
                self._add(each, self._container.streams[each.index])
        if further.chapters:
            chapters: Any = list(further.chapters)
            output.set_chapters(chapters)
        self._packets = self._source_packets()
        self._waiting: tuple[Fraction, av.Packet] | None = None

    def _add(self, each: FurtherStream, source: Any) -> None:
        output: Any = self._output
        if each.kind == "attachment":
            tags = source.metadata
            output.add_attachment(
                tags.get("filename", "attachment"), tags.get("mimetype", "application/octet-stream"), source.data
            )
            return
        if each.kind == "cover":
            packet = self._cover_packet(each.index)
            if packet is not None:
                output.add_attachment(*COVERS[str(each.written)], bytes(packet))
            return
        codec = source.codec_context.codec.canonical_name
        if each.written == codec:
            target = output.add_stream_from_template(source)
        elif each.written == "mov_text":
            target = output.add_stream("mov_text")
            target.codec_context.subtitle_header = _STYLE.encode()
            target.codec_context.time_base = target.time_base = Fraction(1, 1000)
        else:
            target = output.add_mux_stream(each.written)
            target.time_base = Fraction(1, 1000)
        target.metadata.update(tags_for(self._suffix, _kept(source)))
        target.disposition = disposition_of(source)
        self._targets[each.index] = (target, codec, str(each.written))

    def _cover_packet(self, index: int) -> av.Packet | None:
        with opened(self._further.path) as container:
            return next((packet for packet in container.demux(container.streams[index]) if packet.size), None)

    def feed(self, until_s: Fraction) -> None:
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or self._waiting[0] >= until_s:
                return
            self._output.mux(self._waiting[1])
            self._waiting = None

    def finish(self, end_s: Fraction) -> None:
        self.feed(end_s)

    def close(self) -> None:
        self._resources.close()

    def _source_packets(self) -> Iterator[tuple[Fraction, av.Packet]]:
        further = self._further
        start = further.start_s + origin_of(self._container)
        sources = [self._container.streams[index] for index in self._targets]
        following = dict.fromkeys(self._targets, Fraction(0))
        try:
            for packet in self._container.demux(sources) if sources else ():
                if packet.pts is None or not packet.size:
                    continue
                at_s = packet.pts * packet.time_base - start
                until_s = at_s + (packet.duration or 0) * packet.time_base
                if further.duration_s is not None:
                    if at_s >= further.duration_s:
                        continue
                    until_s = min(until_s, further.duration_s)
                target, codec, written = self._targets[packet.stream_index]
                if until_s < 0 or (until_s == 0 and at_s < 0):
                    continue
                content = bytes(packet) if codec == written else as_text(bytes(packet), codec, written)
                if not content:
                    continue
                at_s = max(at_s, following[packet.stream_index])
                following[packet.stream_index] = at_s + Fraction(1, 1000)
                made = av.Packet(content)
                made.stream, made.time_base = target, Fraction(1, 1000)
                made.pts = made.dts = round(at_s * 1000)
                made.duration = max(0, round((until_s - at_s) * 1000))
                made.is_keyframe = True
                yield at_s, made
        except FFmpegError:
            return  # a broken tail: what came before it stands


def as_text(content: bytes, codec: str, written: str) -> bytes:
    """The letters of a packet of subtitles as another kind wants them, without its styles; empty = nothing is shown."""
    if codec == "mov_text":  # a length in two bytes, the text, boxes of styles (3GPP TS 26.245, 5.17)
        text = content[2 : 2 + int.from_bytes(content[:2], "big")].decode("utf-8", "replace")
    elif codec in ("ass", "ssa"):  # nine fields, then the text
        text = content.decode("utf-8", "replace").split(",", 8)[-1].replace("\\N", "\n").replace("\\n", "\n")
    else:
        text = content.decode("utf-8", "replace")
    text = re.sub(r"\{\\[^}]*\}", "", text).strip()
    if written == "mov_text":
        data = re.sub(r"</?[a-zA-Z][^>]*>", "", text).encode()[:0xFFFF]
        return len(data).to_bytes(2, "big") + data if data else b""
    return text.encode()
