from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.core.errors import MediaError
from latentsync.media.information import probe
from latentsync.media.lengths import fit_length
from synth_media import make_film, make_sound, tone, vary


def test_what_a_film_is(tmp_path: Path) -> None:
    media = probe(make_film(tmp_path / "a film ü.mp4", 30, Fraction(30000, 1001), sound=tone(1.0)))
    assert media.video is not None and media.audio is not None
    video = media.video
    assert (video.width, video.height, video.codec, video.pix_fmt, video.bit_depth) == (96, 64, "h264", "yuv420p", 8)
    assert (video.fps, video.num_frames, video.is_variable_rate) == (Fraction(30000, 1001), 30, False)
    assert (
        video.has_audio
        and video.duration_s is not None
        and abs(video.duration_s - Fraction(1001, 1000)) < Fraction(1, 1000)
    )
    assert (media.audio.codec, media.audio.rate_hz, media.audio.layout) == ("aac", 48000, "stereo")
    assert video.rotation == 0 and video.sample_aspect == 1 and media.origin_s == 0


def test_variable_rate_is_seen(tmp_path: Path) -> None:
    video = probe(make_film(tmp_path / "v.mp4", times_s=vary(20))).video
    assert video is not None and video.is_variable_rate


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_steady_rates_are_not_variable(tmp_path: Path, fps: Fraction, suffix: str) -> None:
    video = probe(make_film(tmp_path / f"v{suffix}", 30, fps)).video
    assert video is not None and not video.is_variable_rate
    assert abs(float(video.fps) - float(fps)) < 0.02


def test_the_clock_of_a_recording_is_not_its_rate(tmp_path: Path) -> None:
    """As browsers record: the file tells no rate and no length, and its times tremble."""
    tremble = np.random.default_rng(0).uniform(-0.008, 0.008, 90)
    times = [max(Fraction(0), Fraction(round(1000 * (n / 30 + tremble[n])), 1000)) for n in range(90)]
    path = make_film(tmp_path / "v.webm", times_s=times, codec="libvpx-vp9", time_base=Fraction(1, 1000))
    data = bytearray(path.read_bytes())
    for name in (b"\x23\xe3\x83", b"\x44\x89"):  # DefaultDuration, Duration: made to Void (RFC 9559, 5.1)
        place, size = data.index(name), len(name) + 1
        length = data[place + len(name)] - 0x80
        data[place : place + size] = bytes([0xEC, 0x80 + length + size - 2]) + bytes(size - 2)
    path.write_bytes(bytes(data))
    video = probe(path).video
    assert video is not None and video.is_variable_rate
    assert video.duration_s is not None and abs(video.duration_s - 3) < Fraction(1, 10)  # found by reading
    assert abs(video.fps - 30) < Fraction(1, 2)
    held = list(fit_length(path, Fraction(4), "hold"))
    assert len(held) == pytest.approx(120, abs=2)


def test_a_rate_far_above_what_the_times_say_is_not_believed(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mkv", 40, 25)
    data = bytearray(path.read_bytes())
    place = data.index(b"\x23\xe3\x83") + 4
    data[place : place + data[place - 1] - 0x80] = (1_000_000).to_bytes(data[place - 1] - 0x80, "big")  # 1 ms a frame
    path.write_bytes(bytes(data))
    video = probe(path).video
    assert video is not None and video.fps == 25


def test_ten_bits_and_colour_tags(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    video = probe(make_film(tmp_path / "v.mkv", 3, pixel_format="yuv420p10le", tags=tags)).video
    assert video is not None and (video.bit_depth, video.pix_fmt) == (10, "yuv420p10le")
    assert (video.colorspace, video.color_primaries, video.color_trc, video.color_range) == (9, 9, 16, 1)


def test_sound_alone(tmp_path: Path) -> None:
    media = probe(make_sound(tmp_path / "s.wav", tone(0.5, num_channels=1)))
    assert media.video is None and media.audio is not None
    assert media.audio.duration_s == Fraction(1, 2) and media.audio.layout == "mono"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.mp4", None, "no such file"),
        ("talk.mp4", b"this is only a text\n" * 50, "not a video or sound file"),
        ("empty.mp4", b"", "empty"),
        ("cut.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "its index (moov) is missing"),
    ],
)
def test_bad_files_are_said_in_one_line(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert says in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_not_a_film(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="folder"):
        probe(tmp_path)


def test_subtitles_alone_are_neither_video_nor_sound(tmp_path: Path) -> None:
    path = tmp_path / "s.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n\n")
    with pytest.raises(MediaError, match="neither video nor sound"):
        probe(path)


def test_tags_in_a_wrong_encoding_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "old.mp4"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "QQQQ"
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\xe9\xe8"))
    info = probe(path).video
    assert info is not None
    assert info.width == 64


@pytest.mark.parametrize("first", ["latentsync.media", "latentsync.media.information", "latentsync.media.reader"])
def test_probe_is_the_function_whatever_was_imported_first(first: str) -> None:
    code = f"import {first}\nfrom latentsync.media import probe\nprint(callable(probe))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
