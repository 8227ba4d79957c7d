from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from live_pictures import LivePictures
from small_films import SMALL, copy, frames, nothing_left

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.values import Frame
from latentsync.media.information import VideoInfo, probe
from latentsync.media.pixels import PlanarPicture, RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import make_film, numbered_rgb, tone, vary


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi"])
def test_frames_and_exact_times_survive(tmp_path: Path, fps: Fraction, suffix: str) -> None:
    source = make_film(tmp_path / "in.mp4", 30, fps, time_base=Fraction(1, 60000))
    assert copy(source, tmp_path / f"out ü{suffix}") == [(n, n / Fraction(fps)) for n in range(30)]
    video = probe(tmp_path / f"out ü{suffix}").video
    assert video is not None and video.fps == fps


def test_variable_rate_and_late_starts_survive(tmp_path: Path) -> None:
    times = [Fraction(1, 5) + time for time in vary(20)]
    source = make_film(tmp_path / "in.mp4", times_s=times, sound=tone(1.0), time_base=Fraction(1, 600))
    assert [time for _, time in copy(source, tmp_path / "out.mp4", audio=AudioPlan(source))] == times
    milliseconds = [time for _, time in copy(source, tmp_path / "out.mkv", audio=AudioPlan(source))]
    assert max(abs(a - b) for a, b in zip(milliseconds, times, strict=True)) <= Fraction(1, 1000)
    with pytest.raises(MediaError, match="variable frame rate"):
        copy(source, tmp_path / "out.avi")
    assert nothing_left(tmp_path, {"in.mp4", "out.mp4", "out.mkv"})


@pytest.mark.parametrize("start_s", [Fraction(1, 10), Fraction(1, 2)])
def test_avi_takes_an_even_rate_that_begins_between_two_frames(tmp_path: Path, start_s: Fraction) -> None:
    """The first frame after the start lies half a frame after it: times move by less than one frame, evenly."""
    source = make_film(tmp_path / "in.mp4", 30)
    with VideoReader(source, start_s) as reader, VideoWriter(tmp_path / "out.avi", reader.info) as writer:
        for frame in reader:
            writer.write(replace(frame, time_s=frame.time_s - start_s))
    with VideoReader(tmp_path / "out.avi") as reader:
        times = [frame.time_s for frame in reader]
    assert len(times) == 30 - -(-start_s * 25 // 1)
    assert [round((time - times[0]) * 25) for time in times] == list(range(len(times)))


@pytest.mark.parametrize(
    ("codec", "suffix", "pixel_format", "written"),
    [
        ("libx264", ".mp4", "yuv420p", ("h264", "yuv420p")),
        ("libx264", ".mp4", "yuv420p10le", ("h264", "yuv420p10le")),
        ("libx264", ".mkv", "yuv444p", ("h264", "yuv444p")),
        ("libx265", ".mp4", "yuv420p10le", ("hevc", "yuv420p10le")),
        ("libvpx-vp9", ".webm", "yuv420p", ("vp9", "yuv420p")),
        ("mpeg2video", ".mp4", "yuv420p", ("h264", "yuv420p")),
        ("ffv1", ".mkv", "yuv422p10le", ("ffv1", "yuv422p10le")),
        ("mjpeg", ".avi", "yuvj422p", ("h264", "yuv422p")),
    ],
)
def test_codec_and_depth_follow_the_source(
    tmp_path: Path, codec: str, suffix: str, pixel_format: str, written: tuple[str, str]
) -> None:
    source = make_film(
        tmp_path / f"in{'.mkv' if suffix == '.mp4' else suffix}", 5, codec=codec, pixel_format=pixel_format,
        time_base=Fraction(1, 25), options={"x265-params": "log-level=none"} if codec == "libx265" else None,
    )  # fmt: skip
    assert [number for number, _ in copy(source, tmp_path / f"out{suffix}")] == [0, 1, 2, 3, 4]
    video = probe(tmp_path / f"out{suffix}").video
    assert video is not None and video.codec in (written[0], f"lib{written[0]}")
    assert video.pix_fmt.replace("yuvj", "yuv") == written[1]


def test_colour_tags_follow_the_source(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    source = make_film(tmp_path / "in.mkv", 3, pixel_format="yuv420p10le", tags=tags)
    copy(source, tmp_path / "out.mp4")
    video = probe(tmp_path / "out.mp4").video
    assert video is not None
    assert (video.colorspace, video.color_primaries, video.color_trc, video.color_range) == (9, 9, 16, 1)


def test_full_range_stays_full_range(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mp4", 3, pixel_format="yuvj420p", tags={"color_range": 2})
    copy(source, tmp_path / "out.mp4", crf=4.0)
    before, after = (
        next(iter(VideoReader(tmp_path / name))).picture.rgb().astype(int) for name in ("in.mp4", "out.mp4")
    )
    assert np.abs(before - after).mean() < 2
    video = probe(tmp_path / "out.mp4").video
    assert video is not None and (video.color_range == 2 or video.pix_fmt == "yuvj420p")


def test_a_lossless_codec_gives_back_every_sample(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mkv", 4, codec="ffv1", pixel_format="yuv420p")
    copy(source, tmp_path / "out.mkv")
    for a, b in zip(VideoReader(source), VideoReader(tmp_path / "out.mkv"), strict=True):
        assert isinstance(a.picture, PlanarPicture) and isinstance(b.picture, PlanarPicture)
        assert all(np.array_equal(a.picture.plane(index), b.picture.plane(index)) for index in range(3))


@pytest.mark.parametrize("size", [(333, 211), (334, 211), (333, 210), (97, 65)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_a_lossless_codec_takes_odd_sizes_as_they_are(tmp_path: Path, size: tuple[int, int], pixel_format: str) -> None:
    like = VideoInfo(width=size[0], height=size[1], fps=Fraction(25), codec="ffv1", pix_fmt=pixel_format)
    with VideoWriter(tmp_path / "out.mkv", like) as writer:
        for frame in frames(3, size=size):
            writer.write(frame)
    video = probe(tmp_path / "out.mkv").video
    assert video is not None
    assert (video.width, video.height, video.codec, video.pix_fmt) == (*size, "ffv1", pixel_format)


@pytest.mark.parametrize("size", [(97, 64), (96, 65), (97, 65)])
def test_odd_sizes_keep_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    like = VideoInfo(width=size[0], height=size[1], fps=Fraction(25))
    with VideoWriter(tmp_path / "out.mp4", like) as writer:
        for frame in frames(3, size=size):
            writer.write(frame)
    video = probe(tmp_path / "out.mp4").video
    assert video is not None and (video.width, video.height, video.pix_fmt) == (*size, "yuv444p")
    with pytest.raises(ConfigError, match="yuv444p"):
        VideoWriter(tmp_path / "out.mp4", like, pixel_format="yuv420p")


def test_codec_quality_and_format_can_be_chosen(tmp_path: Path) -> None:
    sizes = {}
    for crf in (5.0, 40.0):
        with VideoWriter(tmp_path / "out.mkv", SMALL, codec="hevc", crf=crf, pixel_format="yuv420p10le") as writer:
            for frame in frames(10):
                writer.write(frame)
        sizes[crf] = (tmp_path / "out.mkv").stat().st_size
        video = probe(tmp_path / "out.mkv").video
        assert video is not None and (video.codec, video.pix_fmt) == ("hevc", "yuv420p10le")
    assert sizes[5.0] > 1.2 * sizes[40.0]
    for bad in ({"codec": "h266"}, {"codec": "vp9"}, {"pixel_format": "pal8"}):
        with pytest.raises(ConfigError):
            VideoWriter(tmp_path / "out.mov", SMALL, **bad)
    with pytest.raises(MediaError, match="unknown kind of file"):
        VideoWriter(tmp_path / "out.txt", SMALL)


@pytest.mark.parametrize(("codec", "most"), [("h264", 51), ("hevc", 51), ("vp9", 63), ("av1", 63)])
def test_a_quality_that_the_codec_does_not_have_is_refused(tmp_path: Path, codec: str, most: int) -> None:
    assert VideoWriter(tmp_path / "out.mkv", SMALL, codec=codec, crf=most).crf == most
    for bad in (most + 0.5, 99.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match=f"to {most} for lib"):
            VideoWriter(tmp_path / "out.mkv", SMALL, codec=codec, crf=bad)
    VideoWriter(tmp_path / "out.mkv", SMALL, codec="ffv1", crf=60)  # has none: nothing to be wrong


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_metadata_is_in_the_container(tmp_path: Path, suffix: str) -> None:
    said = {"comment": "The lips are synthetic.", "latentsync_model": "tiny 0.1"}
    with VideoWriter(tmp_path / f"out{suffix}", SMALL, metadata=said) as writer:
        writer.write(frames(1)[0])
    found = {key.lower(): value for key, value in probe(tmp_path / f"out{suffix}").metadata.items()}
    assert {key: found.get(key) for key in said} == said


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out.mp4").write_bytes(b"the user's earlier result")
    with pytest.raises(error), VideoWriter(tmp_path / "out.mp4", SMALL) as writer:
        for frame in frames(20):
            writer.write(frame)
        raise error
    assert nothing_left(tmp_path, {"out.mp4"})
    assert (tmp_path / "out.mp4").read_bytes() == b"the user's earlier result"


WRITES_ON = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from latentsync.core.values import Frame
from latentsync.media import RgbPicture, VideoInfo, VideoWriter
with VideoWriter(Path(sys.argv[1]), VideoInfo(width=96, height=64, fps=Fraction(25))) as writer:
    writer.write(Frame(0, Fraction(0), RgbPicture(np.zeros((64, 96, 3), np.uint8))))
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="parts are not held there")
def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "out [1].mp4"
    others = {".out [1].mine.part.mp4", ".out [1].0123abcd.part.mkv", ".out.0123abcd.part.mp4", "out [1].0123abcd.part"}
    for name in others:
        (tmp_path / name).touch()

    def write() -> set[str]:
        with VideoWriter(target, SMALL) as writer:
            writer.write(frames(1)[0])
        return {path.name for path in tmp_path.iterdir()} - others

    with subprocess.Popen([sys.executable, "-c", WRITES_ON, str(target)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"open\n"
            (part,) = (path.name for path in tmp_path.iterdir() if path.name not in others)
            with pytest.raises(MediaError, match="another run is writing it"):
                write()
        finally:
            process.kill()
    assert (tmp_path / part).exists()
    assert write() == {target.name}
    assert all((tmp_path / name).exists() for name in others)


def test_what_the_encoder_meets_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(RgbPicture):
        def region(self, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
            raise RuntimeError("broken picture")

    with pytest.raises(RuntimeError, match="broken picture"), VideoWriter(tmp_path / "out.mp4", SMALL) as writer:
        writer.write(Frame(0, Fraction(0), Broken(numbered_rgb(0))))
        for frame in frames(50):
            writer.write(frame)
    assert nothing_left(tmp_path, set())


def test_no_frames_no_film(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frames"), VideoWriter(tmp_path / "out.mp4", SMALL):
        pass
    assert nothing_left(tmp_path, set())


def test_a_frame_of_another_size_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="128x64"), VideoWriter(tmp_path / "out.mp4", SMALL) as writer:
        writer.write(frames(1, size=(128, 64))[0])


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for path, says in [(tmp_path / "no" / "out.mp4", "no folder"), (tmp_path / "folder.mp4", "folder")]:
        with pytest.raises(MediaError, match=says), VideoWriter(path, SMALL):
            pass
    assert nothing_left(tmp_path, {"folder.mp4"})


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are a POSIX matter")
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    script = """
        import resource, signal, sys, pathlib
        from fractions import Fraction
        import numpy as np
        from latentsync.core.errors import MediaError
        from latentsync.core.values import Frame
        from latentsync.media import RgbPicture, VideoInfo, VideoWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        noise = np.random.default_rng(0)
        try:
            with VideoWriter(sys.argv[1], VideoInfo(width=96, height=64, fps=Fraction(25))) as writer:
                for n in range(60):
                    picture = RgbPicture(noise.integers(0, 256, (64, 96, 3), dtype=np.uint8))
                    writer.write(Frame(n, Fraction(n, 25), picture))
        except MediaError as error:
            print(error)
            sys.exit(1)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "out.mp4: cannot be written" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_writing_holds_few_frames_whatever_the_length(tmp_path: Path) -> None:
    def peak(num_frames: int) -> int:
        source = make_film(tmp_path / f"{num_frames}.mp4", num_frames)
        live = LivePictures()
        with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader.info, depth=3) as writer:
            for frame in reader:
                writer.write(frame)
                if frame.index % 10 == 9:
                    live.look()
        return live.most

    assert 1 <= peak(20) <= 3 + 4 and peak(150) <= 3 + 4
