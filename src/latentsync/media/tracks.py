"""The streams of a container: which picture, which sound track, and when the clock of both begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from latentsync.core.errors import MediaError

_QUICKTIME = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "cze": "ces", "nld": "dut", "fre": "fra",
    "kat": "geo", "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "msa": "may", "rum": "ron", "slo": "slk",
    "bod": "tib", "cym": "wel", "swe": "sve",
}  # fmt: skip
"""QuickTime numbers its languages, and FFmpeg knows each number by one code only."""

DEFAULT, ATTACHED_PICTURE = 0x1, 0x400
"""FFmpeg's AV_DISPOSITION_DEFAULT and AV_DISPOSITION_ATTACHED_PIC."""


@dataclass(frozen=True, slots=True)
class SoundTrackInfo:
    """One of the sound tracks of a file.

    Attributes:
        number: among the sound tracks, from 0.
        language: as the file says, "" = not said. title: likewise.
        codec, layout: coding format, and channels such as "stereo".
        is_default: marked to be played where nobody chooses.
    """

    number: int
    language: str
    title: str
    codec: str
    layout: str
    is_default: bool

    @property
    def tags(self) -> dict[str, str]:
        """As a container says it."""
        return {key: text for key, text in (("language", self.language), ("title", self.title)) if text}

    @property
    def words(self) -> str:
        """For messages: "1 (deu, stereo, default)"."""
        parts = [self.language or "language not said", self.title, self.layout, "default" if self.is_default else ""]
        return f"{self.number} ({', '.join(part for part in parts if part)})"


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if stream.codec_context is not None and not is_cover(stream):
            return stream
    return None


def audio_stream(container: av.container.InputContainer, track: str | None = None) -> av.AudioStream | None:
    """A sound track that can be decoded: the chosen one, else the first marked default, else the first.

    Args: track: number among the sound tracks, from 0, or a language ("deu", "ger", "de"); None = not chosen.
    Raises: MediaError: there is no such track, or it cannot be decoded.
    """
    streams = list(container.streams.audio)
    found = [stream for stream in streams if stream.codec_context is not None]
    if track is None:
        marked = [stream for stream in found if disposition_of(stream) & DEFAULT]
        return next(iter((*marked, *found)), None)
    number = chosen_track(sound_tracks(container), track, Path(container.name))
    if streams[number].codec_context is None:
        raise MediaError(f"{container.name}: sound track {number} cannot be decoded. Choose another one.")
    return streams[number]


def chosen_track(tracks: Sequence[SoundTrackInfo], track: str, path: Path) -> int:
    """The number of the track that is meant. Raises: MediaError: none, or several of that language."""
    if track.isdecimal() and len(track) < 5 and int(track) < len(tracks):
        return int(track)
    wanted = None if track.isdecimal() else _language(track)
    matching = [each for each in tracks if wanted is not None and _language(each.language) == wanted]
    preferred = [each for each in matching if each.is_default] if len(matching) > 1 else matching
    if len(preferred) == 1:
        return preferred[0].number
    have = ", ".join(each.words for each in tracks) or "none"
    several = f"several sound tracks {track!r}" if matching else f"no sound track {track!r}"
    raise MediaError(f"{path}: {several} in it. Choose a number or a language of: {have}")


def sound_tracks(container: av.container.InputContainer) -> tuple[SoundTrackInfo, ...]:
    """All sound tracks of a file, those that cannot be decoded too."""
    out = []
    for number, stream in enumerate(container.streams.audio):
        context, tags = stream.codec_context, {key.lower(): text for key, text in stream.metadata.items()}
        language = tags.get("language", "")
        out.append(
            SoundTrackInfo(
                number,
                "" if language == "und" else language,
                tags.get("title", ""),
                "unknown" if context is None else context.name,
                "" if context is None else layout_name(context),
                bool(disposition_of(stream) & DEFAULT),
            )
        )
    return tuple(out)


def tags_for(suffix: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a stream in the words that a container of that suffix takes."""
    language = tags.get("language", "")
    changed = {"language": _QUICKTIME[language]} if suffix == ".mov" and language in _QUICKTIME else {}
    return {**tags, **changed}


def _language(word: str) -> str | None:
    """One spelling for a language, whichever code of ISO 639 or BCP 47 names it; None = no language."""
    import langcodes  # 30 ms, rarely needed

    try:
        return langcodes.Language.get(word).language
    except (ValueError, langcodes.LanguageTagError):
        return None


def origin_of(container: av.container.InputContainer) -> Fraction:
    """Time on the container's clock that counts as 0 s, so that picture and sound keep their distance.

    It is the earlier of the starts of video and sound, whichever track is chosen. Sound that starts before 0 on the
    clock is the codec's run-in, which decoders drop, and counts as starting at 0.
    """
    starts = []
    video, audio = video_stream(container), audio_stream(container)
    if video is not None and video.start_time is not None and video.time_base is not None:
        starts.append(video.start_time * video.time_base)
    if audio is not None and audio.start_time is not None and audio.time_base is not None:
        starts.append(max(audio.start_time * audio.time_base, Fraction(0)))
    return min(starts, default=Fraction(0))


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """(quarter turns clockwise, mirrored first) that set the picture upright, from the frame's display matrix."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    matrix = np.frombuffer(bytes(data), "<i4").astype(np.float64)
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    turn = math.degrees(math.atan2(b, a))  # (x, y) → (a·x + c·y, b·x + d·y), y down: a positive angle turns clockwise
    return round(turn / 90) % 4, bool(mirrored)


def layout_name(context: av.AudioCodecContext) -> str:
    """A channel layout that can be named, for streams that only say how many channels they have too."""
    usual = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    named = context.layout.name if context.layout is not None else ""
    if named and "channels" not in named:
        return named
    return usual.get(context.channels, "stereo")


def is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture that stands for the file."""
    return bool(disposition_of(stream) & ATTACHED_PICTURE)


def disposition_of(stream: Any) -> int:
    """FFmpeg's flags of a stream."""
    disposition: Any = getattr(stream, "disposition", 0)  # a Flag or an IntFlag, by the version of PyAV
    return int(getattr(disposition, "value", disposition))
