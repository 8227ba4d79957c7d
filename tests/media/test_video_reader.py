from __future__ import annotations

import logging
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_pictures import LivePictures

from latentsync.core.errors import MediaError
from latentsync.media.audio import read_audio
from latentsync.media.information import probe
from latentsync.media.pixels import PlanarPicture
from latentsync.media.reader import FrameClock, VideoReader
from synth_media import make_film, make_sound, number_of, numbered_rgb, tone, truncate, vary

B_FRAMES = {"bf": "3", "g": "12"}


def read(path: Path, start_s: Fraction | None = None, end_s: Fraction | None = None) -> list[tuple[int, int, Fraction]]:
    with VideoReader(path, start_s, end_s) as reader:
        return [(number_of(frame.picture.rgb()), frame.index, frame.time_s) for frame in reader]


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 60])
def test_every_frame_comes_once_at_its_exact_time(tmp_path: Path, fps: Fraction) -> None:
    path = make_film(tmp_path / "ein film – 片.mp4", 30, fps, options=B_FRAMES, time_base=Fraction(1, 120000))
    assert read(path) == [(number, number, number / Fraction(fps)) for number in range(30)]


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "libx264"), (".webm", "libvpx-vp9"), (".avi", "mpeg4"), (".mpg", "mpeg2video")]
)
def test_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    path = make_film(tmp_path / f"f{suffix}", 20, 25, codec=codec, time_base=Fraction(1, 25), size=(128, 96))
    assert read(path) == [(number, number, Fraction(number, 25)) for number in range(20)]


def test_variable_rate_times_are_exact(tmp_path: Path) -> None:
    times = vary(25)
    path = make_film(tmp_path / "v.mp4", times_s=times, options=B_FRAMES, time_base=Fraction(1, 600))
    assert [time for _, _, time in read(path)] == times


def test_a_picture_that_starts_late_keeps_its_distance_from_the_sound(tmp_path: Path) -> None:
    late = Fraction(1, 2)
    times = [late + Fraction(number, 25) for number in range(10)]
    path = make_film(tmp_path / "v.mp4", times_s=times, sound=tone(1.0))
    assert [time for _, _, time in read(path)] == times
    assert VideoReader(path).info.start_s == late


def test_a_film_cut_out_of_a_longer_one_starts_at_0(tmp_path: Path) -> None:
    times = [100 + Fraction(number, 25) for number in range(10)]
    path = make_film(tmp_path / "v.mkv", times_s=times, sound=tone(0.4), sound_start_s=Fraction(100))
    assert [time for _, _, time in read(path)] == [time - 100 for time in times]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotated_films_come_upright(tmp_path: Path, quarters: int) -> None:
    path = make_film(tmp_path / "v.mp4", 3, turn_stored=quarters)
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height, reader.info.rotation) == (96, 64, 90 * quarters)
        frames = list(reader)
    for number, frame in enumerate(frames):
        assert np.abs(frame.picture.rgb().astype(int) - numbered_rgb(number)).mean() < 6


@pytest.mark.parametrize("start", [0, 1, 11, 12, 13, 30, 59])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".mpg", "mpeg2video"), (".avi", "mpeg4")]
)
def test_jump_then_read_is_the_same_as_reading_on(tmp_path: Path, suffix: str, codec: str, start: int) -> None:
    options = B_FRAMES if codec != "mpeg4" else {"g": "12"}
    path = make_film(
        tmp_path / f"f{suffix}", 60, 25, codec=codec, options=options, time_base=Fraction(1, 25), size=(128, 96)
    )
    everything = read(path)
    part = read(path, everything[start][2], everything[start][2] + Fraction(10, 25))
    assert [(number, time) for number, _, time in part] == [(n, t) for n, _, t in everything[start : start + 10]]
    assert [index for _, index, _ in part] == list(range(len(part)))


def test_a_start_between_two_frames_begins_with_the_next(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 20)
    assert [number for number, _, _ in read(path, Fraction(101, 1000), Fraction(201, 1000))] == [3, 4, 5]


def test_each_loop_starts_anew(tmp_path: Path) -> None:
    with VideoReader(make_film(tmp_path / "v.mp4", 8)) as reader:
        next(iter(reader))
        assert [frame.index for frame in reader] == [frame.index for frame in reader] == list(range(8))


def test_one_frame(tmp_path: Path) -> None:
    assert read(make_film(tmp_path / "v.mp4", 1)) == [(0, 0, Fraction(0))]


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 2, pixel_format="yuv420p10le")
    frame = next(iter(VideoReader(path)))
    assert isinstance(frame.picture, PlanarPicture) and frame.picture.layout.bits == 10
    assert frame.picture.plane(0).max() > 255


def test_a_cut_off_film_gives_what_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = truncate(make_film(tmp_path / "v.mkv", 60, options={"g": "12", "crf": "5"}), 0.6)
    numbers = [number for number, _, _ in read(path)]
    assert 15 < len(numbers) < 60 and numbers[:15] == list(range(15))


def spoil(path: Path, frames: list[int]) -> Path:
    """Overwrite these frames of a motion-JPEG AVI with zeros."""
    data = bytearray(path.read_bytes())
    places = [i for i in range(len(data)) if data[i : i + 4] == b"00dc" and data[i + 8 : i + 10] == b"\xff\xd8"]
    for number in frames:
        size = int.from_bytes(data[places[number] + 4 : places[number] + 8], "little")
        data[places[number] + 8 : places[number] + 8 + size] = bytes(size)
    path.write_bytes(bytes(data))
    return path


def motion_jpeg(path: Path, num_frames: int) -> Path:
    return make_film(path, num_frames, codec="mjpeg", pixel_format="yuvj420p", time_base=Fraction(1, 25))


def test_damaged_packets_are_stepped_over_and_counted_and_warned_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = spoil(motion_jpeg(tmp_path / "v.avi", 40), [10, 20, 21, 39])
    with VideoReader(path) as reader, caplog.at_level(logging.WARNING):
        frames = list(reader)
    numbers = [number_of(frame.picture.rgb()) for frame in frames]
    assert numbers == [number for number in range(40) if number not in (10, 20, 21, 39)]
    assert [frame.time_s for frame in frames] == [Fraction(number, 25) for number in numbers]
    assert [frame.index for frame in frames] == list(range(36))
    assert reader.damaged == 4 and len(caplog.records) == 1


def test_a_long_damaged_run_ends_the_film(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spoil(motion_jpeg(tmp_path / "v.avi", 40), list(range(10, 30)))
    with VideoReader(path) as reader:
        frames = list(reader)
    assert len(frames) == 10 and reader.damaged == 8
    assert any("in a row" in record.message for record in caplog.records)


def test_a_film_without_one_good_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no picture can be decoded"):
        VideoReader(spoil(motion_jpeg(tmp_path / "v.avi", 12), list(range(12))))


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="only sound"):
        VideoReader(make_sound(tmp_path / "s.wav", tone(0.1)))


def test_times_are_made_to_rise() -> None:
    step = Fraction(1, 10)
    clock = FrameClock(step)
    raw = [Fraction(n, 10) if n is not None else None for n in (0, 1, 1, 3, None, 5, 6, 60, 0, 1, 2)]
    times = [clock.at(time) for time in raw]
    assert all(a < b for a, b in pairwise(times))
    assert times[2] == Fraction(3, 20) and times[4] == Fraction(4, 10)
    assert times[8:] == [times[7] + step, times[7] + 2 * step, times[7] + 3 * step]  # a new clock carries on
    assert clock.num_repaired == 2


def test_reading_holds_few_frames_whatever_the_length(tmp_path: Path) -> None:
    def peak(num_frames: int) -> int:
        path = make_film(tmp_path / f"{num_frames}.mp4", num_frames)
        live = LivePictures()
        with VideoReader(path) as reader:
            for frame in reader:
                if frame.index % 10 == 9:
                    live.look()
        return live.most

    assert 1 <= peak(20) == peak(150) <= 3


@pytest.mark.parametrize("start_s", [0, 1, 2, 4, 5])
def test_a_place_is_found_in_files_put_one_after_the_other(tmp_path: Path, start_s: int) -> None:
    """Their clock starts again: a jump to 1 s would land in the second part, and one to 5 s nowhere."""
    parts = [make_film(tmp_path / f"{hz}.ts", 75, sound=tone(3.0, hz=hz)) for hz in (440, 880)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    info = probe(path)
    assert info.video is not None and info.audio is not None
    assert float(info.video.duration_s or 0) == pytest.approx(6.02, abs=0.01)
    assert float(info.audio.duration_s or 0) == pytest.approx(6.05, abs=0.03)
    with VideoReader(path, Fraction(start_s)) as reader:
        seen = [(number_of(frame.picture.rgb()), frame.time_s) for frame in reader]
    assert [number for number, _ in seen] == [number % 75 for number in range(start_s * 25, 150)]
    audio_features = read_audio(path, Fraction(start_s))
    assert len(audio_features) / 16000 == pytest.approx(6.05 - start_s, abs=0.03)
    middle = np.abs(np.fft.rfft(audio_features[4000:12000])).argmax() * 2
    assert middle == (440 if start_s < 3 else 880)


def joined(path: Path, *sizes: tuple[int, int], **kind: Any) -> Path:
    """One film of 40 numbered frames per size, put one after the other as `cat` does."""
    parts = [make_film(path.with_name(f"{n}.ts"), 40, size=size, **kind) for n, size in enumerate(sizes)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(("pixel_format", "color_range"), [("yuv420p", 1), ("yuvj420p", 2), ("yuv420p10le", 1)])
@pytest.mark.parametrize("sizes", [((96, 64), (192, 128)), ((192, 128), (96, 64))])
def test_frames_of_another_size_are_scaled_to_the_first(
    tmp_path: Path,
    sizes: tuple[tuple[int, int], ...],
    pixel_format: str,
    color_range: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kind = {"pixel_format": pixel_format, "tags": {"color_range": color_range}, "options": {"crf": "5"}}
    reader = VideoReader(joined(tmp_path / "v.ts", *sizes, **kind))
    frames = list(reader)
    assert {(frame.picture.width, frame.picture.height) for frame in frames} == {sizes[0]}
    assert [number_of(frame.picture.rgb()) for frame in frames] == 2 * list(range(40))
    for frame in frames[40:]:
        want = numbered_rgb(frame.index - 40, *sizes[0]).astype(int)
        assert np.abs(frame.picture.rgb().astype(int) - want).mean() < 4
    assert reader.scaled_from_s == frames[40].time_s and sum("scaled" in r.message for r in caplog.records) == 1


def test_a_picture_that_changes_its_shape_is_said_with_the_time(tmp_path: Path) -> None:
    path = joined(tmp_path / "v.ts", (96, 64), (96, 96))
    with pytest.raises(MediaError, match=r"from 96x64 to 96x96 at 1\.[56]\d s"):
        list(VideoReader(path))
    assert len(list(VideoReader(path, end_s=Fraction(3, 2)))) > 30
