"""Which encoder, pixel format, clock and sound a written file gets, following its source.

Source codec      → encoder (first one this PyAV has)       quality default
h264              → libx264 superfast + mbtree              crf 16
hevc              → libx265 ultrafast                       crf 15
vp8, vp9          → libvpx-vp9 realtime, 5                  crf 24 (with alpha: 4:2:0)
av1               → libsvtav1 preset 8, libaom-av1          crf 22
prores            → prores_ks                               profile of its own
ffv1              → ffv1                                    lossless
others            → as h264, or vp9 in .webm

A codec that the container cannot hold is replaced by the container's own (h264; vp9 in webm). Quality defaults are
settings commonly called visually lossless, presets are chosen for real time on two cores: both H.26x settings take half
the processor time of veryfast at crf 17 and 18 (docs/speed.md). Odd sizes: an encoder that needs even sizes for 4:2:0
gets 4:4:4 instead, so the size of the picture never changes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av

from latentsync.core.errors import ConfigError, MediaError
from latentsync.media.information import VideoInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to code video.

    Attributes:
        crf: its default; None = it has none. crf_range: least and most.
        even_420: it needs even sizes for 4:2:0.
        alpha: formats with alpha that it takes, of those that it lists; None = all of them.
    """

    name: str
    crf: float | None
    options: tuple[tuple[str, str], ...] = ()
    even_420: bool = False
    crf_range: tuple[int, int] = (0, 63)
    alpha: tuple[str, ...] | None = None

    def crf_for(self, wanted: float | None) -> float | None:
        """The wanted crf, else the default.

        Raises: ConfigError: the encoder does not take it (x264 would take its own worst without a word).
        """
        low, high = self.crf_range
        if wanted is not None and self.crf is not None and not low <= wanted <= high:
            raise ConfigError("crf", wanted, f"choose {low} to {high} for {self.name}")
        return self.crf if wanted is None else wanted


_ENCODERS: dict[str, tuple[Encoder, ...]] = {
    "h264": (
        Encoder(
            "libx264", 16, (("preset", "superfast"), ("x264-params", "mbtree=1:rc-lookahead=10")),
            even_420=True, crf_range=(0, 51),
        ),
    ),
    "hevc": (Encoder("libx265", 15, (("preset", "ultrafast"), ("x265-params", "log-level=error")),
                     even_420=True, crf_range=(0, 51), alpha=()),),
    "vp9": (
        Encoder("libvpx-vp9", 24, (("deadline", "realtime"), ("cpu-used", "5"), ("row-mt", "1"), ("b", "0")),
                alpha=("yuva420p",)),
    ),
    "av1": (
        Encoder("libsvtav1", 22, (("preset", "8"),), even_420=True, crf_range=(1, 63)),  # 0 is its 35
        Encoder("libaom-av1", 22, (("cpu-used", "6"), ("row-mt", "1"), ("b", "0"))),
    ),
    "prores": (Encoder("prores_ks", None),),
    "ffv1": (Encoder("ffv1", None, (("level", "3"),)),),  # FFmpeg chooses the slices: 4 fail at odd heights of 4:2:0
}  # fmt: skip

_FAMILY = {"vp8": "vp9", "libvpx-vp9": "vp9", "libvpx": "vp9", "libx264": "h264", "libx265": "hevc", "h265": "hevc",
           "libdav1d": "av1", "libaom-av1": "av1", "libsvtav1": "av1", "prores_ks": "prores"}  # fmt: skip

_VIDEO_IN = {
    ".mp4": ("h264", "hevc", "av1", "vp9"),
    ".m4v": ("h264", "hevc"),
    ".mov": ("h264", "hevc", "prores"),
    ".mkv": ("h264", "hevc", "vp9", "av1", "ffv1", "prores"),
    ".webm": ("vp9", "av1"),
    ".avi": ("h264", "ffv1"),
}
"""Coding formats a container can hold and common players play from it; the first one is its own."""

_AUDIO_IN = {
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    ".m4v": ("aac", "ac3", "alac"),
    ".mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be", "pcm_f32le"),
    ".mkv": ("aac", "mp3", "mp2", "ac3", "eac3", "dts", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le",
             "pcm_s32le", "pcm_f32le", "pcm_u8"),
    ".webm": ("opus", "vorbis"),
    ".avi": ("mp3", "mp2", "ac3", "pcm_s16le", "pcm_u8"),
}  # fmt: skip

_AUDIO_ENCODERS = {
    ".mp4": ("aac", 128_000), ".m4v": ("aac", 128_000), ".mov": ("aac", 128_000), ".mkv": ("aac", 128_000),
    ".webm": ("libopus", 96_000), ".avi": ("pcm_s16le", None),
}  # fmt: skip
"""Encoder and bits per second and channel where the sound cannot be copied: transparent for speech and music."""

_OPUS_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.1", "7.1")
"""Opus has 5.0 and 6.1 too, but what FFmpeg 8 writes in them comes back with its channels in another order."""

_OPUS_FOR = {"quad(side)": "quad", "2.1": "stereo", "3.0(back)": "quad"}
_NOT_IN_AAC = ("downmix", "cube", "5.1.2", "5.1.4", "7.1.2", "7.1.4", "9.1.4", "22.2")
"""Layouts that FFmpeg's encoder refuses."""


def container_of(path: Path) -> str:
    """The suffix of a file to write, checked.

    Raises: MediaError: no container has that suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in _VIDEO_IN:
        raise MediaError(f"{path}: unknown kind of file {suffix!r}. Use one of {', '.join(_VIDEO_IN)}.")
    return suffix


def encoder_for(suffix: str, source_codec: str, codec: str | None, bit_depth: int = 8) -> Encoder:
    """The encoder for a container: the wanted `codec` (coding format or encoder name), else the source's where it fits.

    A source deeper than its encoder can code goes to the next encoder of the container that can (a VP9 encoder may be
    built for 8 bits only), with a warning. ProRes stays ProRes: its samples are written with 10 bits, though FFmpeg
    decodes its 4444 kinds to 12.

    Raises: ConfigError: the wanted codec is unknown, or the container cannot hold it.
    """
    fits = _VIDEO_IN[suffix]
    family = _FAMILY.get(codec or source_codec, codec or source_codec)
    if codec is not None and (family not in _ENCODERS or family not in fits):
        raise ConfigError("codec", codec, f"choose one of {', '.join(fits)} for {suffix} files")
    if family not in fits:
        family = fits[0]
    found = [encoder for name in (family, *fits) for encoder in _ENCODERS[name] if encoder.name in av.codecs_available]
    if codec is not None:
        found = [encoder for encoder in found if encoder in _ENCODERS[family]]
    if not found:
        raise ConfigError("codec", codec or family, f"this PyAV cannot encode it; choose another of {', '.join(fits)}")
    deep = [encoder for encoder in found if max(_traits(name)[0] for name in pixel_formats(encoder.name)) >= bit_depth]
    if codec is None and family != "prores" and deep and deep[0] is not found[0]:
        log.warning("%s cannot code %d bits, %s is used instead", found[0].name, bit_depth, deep[0].name)
        return deep[0]
    return found[0]


@lru_cache(maxsize=16)
def pixel_formats(encoder: str) -> tuple[str, ...]:
    """Pixel formats an encoder takes."""
    return tuple(fmt.name for fmt in av.Codec(encoder, "w").video_formats or ())


def pixel_format_for(encoder: Encoder, source: str, size: tuple[int, int], wanted: str | None) -> str:
    """The pixel format to encode: the wanted one, else the source's, else the nearest that loses least.

    Nearest: subsampling at least as fine, then depth at least as deep, then alpha kept where possible, then smallest.

    Raises: ConfigError: the encoder does not take the wanted format, or not at an odd size.
    """
    offered = pixel_formats(encoder.name)
    odd = encoder.even_420 and (size[0] % 2 == 1 or size[1] % 2 == 1)
    if wanted is not None:
        if wanted not in offered:
            raise ConfigError("pixel_format", wanted, f"{encoder.name} takes {', '.join(offered)}")
        if odd and _cells(wanted) != (1, 1):
            raise ConfigError("pixel_format", wanted, f"a picture of {size[0]}x{size[1]} (odd) needs yuv444p")
        return wanted
    need_depth, need_cell, need_alpha = _traits(source)
    if odd:
        need_cell = (1, 1)

    def loss(name: str) -> tuple[int, int, int, int, int, bool]:
        depth, cell, alpha = _traits(name)
        coarser = max(cell[0] - need_cell[0], 0) + max(cell[1] - need_cell[1], 0)
        finer = max(need_cell[0] - cell[0], 0) + max(need_cell[1] - cell[1], 0)
        return (
            int(need_alpha and not alpha),
            coarser,
            max(need_depth - depth, 0),
            finer,
            abs(depth - need_depth),
            alpha,
        )

    usable = [name for name in offered if _is_usable(name, source, encoder)]
    if not usable:
        raise MediaError(f"{encoder.name}: takes no pixel format for {source}. Choose another codec.")
    return min(usable, key=loss)


def clock_for(suffix: str, like: VideoInfo) -> Fraction:
    """Tick of the written video: the source's own where it is fine enough, else a whole part of a frame.

    AVI has one tick per frame: the tick is the frame.
    """
    if suffix == ".avi":
        return 1 / like.fps
    if like.time_base <= Fraction(1, 1000) and like.time_base.numerator == 1:
        return like.time_base
    denominator = like.fps.numerator
    while denominator < 10_000:
        denominator *= 2
    return Fraction(1, denominator)


def can_copy_audio(suffix: str, codec: str) -> bool:
    """Whether the container holds that sound as it is."""
    return codec in _AUDIO_IN[suffix] or (codec.removesuffix("float") in _AUDIO_IN[suffix])


def audio_encoder_for(suffix: str) -> tuple[str, int | None]:
    """(encoder, bits per second and channel) for sound that has to be encoded."""
    return _AUDIO_ENCODERS[suffix]  # type: ignore[return-value]


def audio_layout_for(encoder: str, layout: str) -> str:
    """The layout that an encoder takes for sound of this layout: the same, or the nearest to mix it to.

    Opus has one order of channels for each number (RFC 7845, 5.1.1.2), in which the surrounds of 5.1 are "back".
    """
    channels = len(av.AudioLayout(layout).channels)
    if encoder == "libopus" and layout not in _OPUS_LAYOUTS:
        return _OPUS_FOR.get(layout, "stereo" if channels < 3 else "5.1" if channels < 7 else "7.1")
    if (encoder == "aac" and layout in _NOT_IN_AAC) or channels > 16:
        return "stereo" if channels < 3 else "7.1"
    return layout


def fields_for(encoder: str, like: VideoInfo, pixel_format: str) -> str | None:
    """How an encoder is reported to code the fields of an interlaced source: "tff" or "bff"; None = not interlaced, or
    not
    to be kept: another encoder than x264, an order that is not known, a picture that is turned, a height that does not
    divide into fields with whole chroma lines.
    """
    divides = like.height % (2 * _cells(pixel_format)[1]) == 0
    if encoder != "libx264" or like.first_field is None or like.rotation or not divides:
        return None
    return "tff" if like.first_field == "top" else "bff"


def _traits(name: str) -> tuple[int, tuple[int, int], bool]:
    """(depth, luma pixels per chroma sample, has alpha) of a pixel format."""
    fmt = av.VideoFormat(name, 64, 64)
    parts = fmt.components
    alpha = any(part.is_alpha for part in parts) or fmt.has_palette
    return (8 if fmt.has_palette else max(part.bits for part in parts)), _cells(name), alpha


def _cells(name: str) -> tuple[int, int]:
    fmt = av.VideoFormat(name, 64, 64)
    parts = fmt.components
    if fmt.is_rgb or fmt.has_palette:
        return 1, 1
    return (2, 2) if len(parts) < 3 else (64 // parts[1].width, 64 // parts[1].height)


def _is_usable(name: str, source: str, encoder: Encoder) -> bool:
    """Planar formats that `pixels` works in; RGB only where the source is RGB and the encoder is lossless at it.

    Alpha only where the encoder means it: libvpx lists formats with alpha that it refuses, libx265 all of them.
    """
    fmt = av.VideoFormat(name, 64, 64)
    if encoder.alpha is not None and any(part.is_alpha for part in fmt.components) and name not in encoder.alpha:
        return False
    if name.startswith("yuvj"):  # the old names of full range; the range tag says it now
        return False
    if name.startswith("gbr"):
        return av.VideoFormat(source, 64, 64).is_rgb and all(kind not in name for kind in ("f32", "f16"))
    return name.startswith("yuv") and fmt.is_planar and any(kind in name for kind in ("420", "422", "444"))
