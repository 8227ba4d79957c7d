"""What a source has beside its pictures: transparency, HDR10 metadata, fields. Kept, or told to be lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.media.codecs import encoder_for
from latentsync.media.hdr import Hdr
from latentsync.media.information import VideoInfo, probe
from latentsync.media.losses import losses, source_losses
from latentsync.media.pixels import PlanarPicture
from latentsync.media.planes import copy_planes
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from synth_media import make_film, numbered_rgb

DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
CHROMA = tuple(Fraction(n, 50000) for n in (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450))
HDR = Hdr((*CHROMA, Fraction(50, 10000), Fraction(1000)), (1000, 400))


def make_see_through(path: Path, codec: str, pixel_format: str) -> Path:
    """Five frames, opaque on their left half, clear on their right."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        for number in range(5):
            rgba = np.dstack([numbered_rgb(number), np.zeros((64, 96), np.uint8)])
            rgba[:, :48, 3] = 255
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def copy(source: Path, target: Path) -> tuple[str, ...]:
    """Read and write; gives what is said to be lost."""
    with VideoReader(source) as reader, VideoWriter(target, reader.info) as writer:
        for frame in reader:
            writer.write(frame)
    return writer.losses


def alpha_of(path: Path, decoder: str | None = None) -> tuple[float, float]:
    """Mean alpha of the left and the right half of the first frame, 0 to 1."""
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context if decoder is None else av.CodecContext.create(decoder, "r")
        frame = next(frame for packet in file.demux(video=0) for frame in context.decode(packet))
        rgba = frame.reformat(format="rgba").to_ndarray()
        return float(rgba[:, :44, 3].mean() / 255), float(rgba[:, 52:, 3].mean() / 255)


def test_prores_4444_keeps_its_codec_and_its_transparency(tmp_path: Path) -> None:
    source = make_see_through(tmp_path / "in.mov", "prores_ks", "yuva444p10le")
    assert probe(source).video.bit_depth == 12  # as FFmpeg decodes it  # type: ignore[union-attr]
    assert copy(source, tmp_path / "out.mov") == ()
    video = probe(tmp_path / "out.mov").video
    assert video is not None and video.codec == "prores"
    assert alpha_of(tmp_path / "out.mov") == pytest.approx((1, 0), abs=0.01)


@pytest.mark.parametrize(("codec", "pixel_format", "suffix"), [
    ("qtrle", "argb", ".mov"), ("ffv1", "yuva444p", ".mkv"), ("ffv1", "yuva420p", ".mkv"), ("ffv1", "bgra", ".mkv"),
])  # fmt: skip
def test_transparency_goes_into_webm(tmp_path: Path, codec: str, pixel_format: str, suffix: str) -> None:
    source = make_see_through(tmp_path / f"in{suffix}", codec, pixel_format)
    assert copy(source, tmp_path / "out.webm") == ()
    assert alpha_of(tmp_path / "out.webm", "libvpx-vp9") == pytest.approx((1, 0), abs=0.03)
    assert any("cannot be read" in loss for loss in source_losses(probe(tmp_path / "out.webm").video))  # type: ignore[arg-type]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mp4", "hevc"), (".mkv", "av1")])
def test_lost_transparency_is_told(tmp_path: Path, suffix: str, codec: str) -> None:
    source = make_see_through(tmp_path / "in.mkv", "ffv1", "yuva420p")
    with VideoReader(source) as reader, VideoWriter(tmp_path / f"out{suffix}", reader.info, codec) as writer:
        for frame in reader:
            writer.write(frame)
    assert len(writer.losses) == 1 and "transparency" in writer.losses[0]
    opaque = replace(reader.info, pix_fmt="yuv420p")
    assert losses(opaque, "libx264", "yuv420p") == losses(replace(opaque, pix_fmt="pal8"), "libx264", "yuv444p") == ()


def test_depth_still_chooses_the_encoder_of_other_sources() -> None:
    assert encoder_for(".mov", "prores", None, 12).name == "prores_ks"
    assert encoder_for(".mp4", "h264", None, 12).name == "libx265"


def make_hdr(path: Path) -> Path:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    options = {"x265-params": f"log-level=none:master-display={DISPLAY}:max-cll=1000,400"}
    return make_film(path, 4, codec="libx265", pixel_format="yuv420p10le", tags=tags, options=options)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["hevc", "h264", "av1"])
def test_hdr10_metadata_go_along(tmp_path: Path, codec: str, suffix: str) -> None:
    source = make_hdr(tmp_path / "in.mkv")
    with VideoReader(source) as reader, VideoWriter(tmp_path / f"out{suffix}", reader.info, codec) as writer:
        assert reader.info.hdr == HDR
        for frame in reader:
            writer.write(frame)
    written = probe(tmp_path / f"out{suffix}").video
    assert written is not None and written.hdr is not None and HDR.display is not None and writer.losses == ()
    assert written.hdr.light == HDR.light and written.hdr.display is not None
    assert [float(value) for value in written.hdr.display] == pytest.approx(list(map(float, HDR.display)), abs=1e-4)


def test_hdr10_metadata_that_cannot_go_along_are_told() -> None:
    like = VideoInfo(width=96, height=64, fps=Fraction(25), hdr=HDR)
    assert "HDR10" in losses(like, "libvpx-vp9", "yuv420p")[0] and losses(like, "libx265", "yuv420p10le") == ()


def fields_of(path: Path) -> tuple[str | None, bool]:
    """Which field comes first, and whether all frames are interlaced."""
    info = probe(path).video
    assert info is not None
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    assert len({frame.interlaced_frame for frame in frames}) == 1
    return info.first_field, bool(frames[0].interlaced_frame)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize(("order", "first"), [("tff", "top"), ("bff", "bottom")])
def test_h264_keeps_the_fields_of_interlaced_video(tmp_path: Path, order: str, first: str, suffix: str) -> None:
    source = make_film(tmp_path / "in.mp4", 5, options={"x264-params": f"{order}=1"})
    assert fields_of(source) == (first, True)
    assert copy(source, tmp_path / f"out{suffix}") == ()
    assert fields_of(tmp_path / f"out{suffix}") == (first, True)
    assert copy(make_film(tmp_path / "p.mp4", 5), tmp_path / "p_out.mp4") == ()
    assert fields_of(tmp_path / "p_out.mp4") == (None, False)


def first_fields(path: Path) -> list[str]:
    """Of each frame, as a player that deinterlaces sees it: "tff", "bff" or "none"."""
    found = []
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        for kind in ("TOPFIRST", "BOTTOMFIRST"):
            file.seek(0)
            graph = av.filter.Graph()
            source = graph.add_buffer(template=stream)
            chosen, sink = graph.add("select", f"eq(interlace_type,{kind})"), graph.add("buffersink")
            source.link_to(chosen)
            chosen.link_to(sink)
            graph.configure()
            for frame in file.decode(video=0):
                graph.push(frame)
                try:
                    while True:
                        found.append((graph.pull().pts, kind))
                except (av.error.BlockingIOError, av.error.EOFError):
                    pass
    return [kind for _, kind in sorted(found)]


@pytest.mark.parametrize(("order", "first"), [("tff", "TOPFIRST"), ("bff", "BOTTOMFIRST")])
def test_frames_that_were_made_have_the_films_order_of_fields(tmp_path: Path, order: str, first: str) -> None:
    """Every second frame is a copy, as pasting makes one."""
    source = make_film(tmp_path / "in.mp4", 6, options={"x264-params": f"{order}=1"})
    with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for frame in reader:
            picture = frame.picture
            assert isinstance(picture, PlanarPicture)
            if frame.index % 2:
                picture = PlanarPicture(copy_planes(picture.frame, picture.layout))
            writer.write(replace(frame, picture=picture))
    assert first_fields(tmp_path / "out.mp4") == [first] * 6
    assert fields_of(tmp_path / "out.mp4")[0] == fields_of(source)[0]


def test_interlaced_video_that_others_do_not_keep_is_told(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mp4", 5, options={"x264-params": "tff=1"})
    lost = copy(source, tmp_path / "out.webm")
    assert len(lost) == 1 and "interlaced" in lost[0]
    like = probe(source).video
    assert like is not None
    assert "--codec h264" in losses(like, "libx265", "yuv420p")[0]
    for other in (replace(like, rotation=90), replace(like, first_field=None), replace(like, height=66)):
        lost = losses(other, "libx264", "yuv420p")
        assert len(lost) == 1 and "not marked" in lost[0] and "--codec" not in lost[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
@pytest.mark.parametrize("kind", ["8 bit", "10 bit", "hdr"])
def test_hevc_is_tagged_as_apples_players_want_it(tmp_path: Path, kind: str, suffix: str) -> None:
    if kind == "hdr":
        source = make_hdr(tmp_path / "in.mkv")
    else:
        pixel_format = "yuv420p10le" if kind == "10 bit" else "yuv420p"
        options = {"x265-params": "log-level=none"}
        source = make_film(tmp_path / "in.mkv", 4, codec="libx265", pixel_format=pixel_format, options=options)
    out = tmp_path / f"out{suffix}"
    assert copy(source, out) == ()
    with av.open(str(out)) as file:
        assert file.streams.video[0].codec_context.codec_tag == "hvc1"
        assert len(list(file.decode(video=0))) == 4
    assert b"hev1" not in out.read_bytes()
