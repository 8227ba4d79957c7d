"""What a source has and the written file will not have, in words for people."""

from __future__ import annotations

import av

from latentsync.media.codecs import fields_for
from latentsync.media.information import VideoInfo


def source_losses(like: VideoInfo) -> tuple[str, ...]:
    """What is lost of a source whatever is written."""
    out = []
    if like.has_hidden_alpha:
        out.append("the video's transparency cannot be read (VP8 and VP9 keep it aside) and is not in the result")
    if like.has_captions:
        out.append(
            "closed captions in the picture (CEA-608, CEA-708) are lost on edited frames; only H.264 keeps others"
        )
    if like.dynamic_hdr is not None:
        out.append(f"the {like.dynamic_hdr} metadata of single frames are not in the result; HDR10 metadata are")
    return tuple(out)


def losses(like: VideoInfo, encoder: str, pixel_format: str) -> tuple[str, ...]:
    """What is lost on the way from a source to a file of this encoder and pixel format."""
    out = list(source_losses(like))
    if like.is_interlaced and fields_for(encoder, like, pixel_format) is None:
        can_be = encoder != "libx264" and fields_for("libx264", like, "yuv420p") is not None
        also = ", or write H.264 (.mp4, --codec h264), which keeps its fields" if can_be else ""
        out.append(
            "the video is interlaced: its lines stay as they are, but the result is not marked as interlaced and "
            f"players may show combs. Deinterlace it before (ffmpeg -i IN -vf bwdif OUT){also}"
        )
    if has_alpha(like.pix_fmt) and not has_alpha(pixel_format):
        out.append(
            f"{encoder} writes no transparency: that of the video is not in the result. Write ProRes 4444 (.mov) or "
            "FFV1 (.mkv) with --codec, or .webm"
        )
    if like.hdr is not None and like.hdr.options(encoder) is None:
        out.append(
            f"{encoder} does not take the HDR10 metadata (mastering display, light level) of the video: they are not "
            "in the result. Write HEVC with --codec hevc"
        )
    return tuple(out)


def has_alpha(pixel_format: str) -> bool:
    """Whether pixels have an alpha sample. A palette does not count: few have transparent entries."""
    return any(part.is_alpha for part in av.VideoFormat(pixel_format, 64, 64).components)
