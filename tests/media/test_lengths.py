from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import pytest
from live_pictures import LivePictures

from latentsync.core.errors import ConfigError
from latentsync.core.values import Frame
from latentsync.media import lengths
from latentsync.media.lengths import fit_frames, fit_length
from latentsync.media.reader import VideoReader
from synth_media import make_film, number_of, vary


def numbers(frames: Iterator[Frame]) -> list[int]:
    out = []
    last = Fraction(-1)
    for index, frame in enumerate(frames):
        assert frame.index == index and frame.time_s > last
        last = frame.time_s
        out.append(number_of(frame.picture.rgb()))
    return out


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "MAX_SEGMENT_FRAMES", 7)  # so that short films have several


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", list(range(20))),
        ("hold", [*range(20), *[19] * 30]),
        ("loop", [*range(20), *range(20), *range(10)]),
        ("ping_pong", [*range(20), *range(18, -1, -1), *range(1, 12)]),
    ],
)
@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001)])
def test_longer_than_the_film(tmp_path: Path, mode: lengths.Extend, expected: list[int], fps: Fraction) -> None:
    path = make_film(tmp_path / "v.mp4", 20, fps, options={"g": "8", "bf": "2"}, time_base=Fraction(1, 30000))
    assert numbers(fit_length(path, 50 / Fraction(fps), mode)) == expected
    times = [frame.time_s for frame in fit_length(path, 50 / Fraction(fps), mode)]
    assert times == [number / Fraction(fps) for number in range(len(expected))]


@pytest.mark.parametrize("mode", ["none", "hold", "loop", "ping_pong"])
def test_shorter_than_the_film(tmp_path: Path, mode: lengths.Extend) -> None:
    path = make_film(tmp_path / "v.mp4", 20)
    assert numbers(fit_length(path, Fraction(5, 25), mode)) == [0, 1, 2, 3, 4]
    assert numbers(fit_length(path, Fraction(5, 25) + Fraction(1, 1000), mode)) == [0, 1, 2, 3, 4, 5]


def test_the_last_frame_lasts_until_the_next_one(tmp_path: Path) -> None:
    times = [Fraction(n, 10) for n in range(10)] + [1 + Fraction(n, 50) for n in range(60)]
    path = make_film(tmp_path / "v.mp4", fps=50, times_s=times)

    def end_of(length_s: str | None, mode: lengths.Extend = "none", end_s: Fraction | None = None) -> Fraction | None:
        frames = fit_length(path, None if length_s is None else Fraction(length_s), mode, end_s=end_s)
        assert frames.end_s is None
        assert len(list(frames)) > 0
        return frames.end_s

    assert end_of("0.95", "ping_pong") == end_of("1") == end_of(None, end_s=Fraction(19, 20)) == 1
    assert end_of("1.01") == Fraction(51, 50)
    assert end_of(None) == Fraction(110, 50)  # as the file says
    regular = fit_length(make_film(tmp_path / "r.mp4", 20), None)
    assert len(list(regular)) == 20 and regular.end_s == Fraction(20, 25)


@pytest.mark.parametrize("mode", ["none", "loop", "ping_pong"])
def test_a_part_of_the_film_starts_at_0(tmp_path: Path, mode: lengths.Extend) -> None:
    path = make_film(tmp_path / "v.mp4", 30)
    frames = list(fit_length(path, Fraction(12, 25), mode, Fraction(10, 25), Fraction(15, 25)))
    expected = {"none": [10, 11, 12, 13, 14], "loop": [*range(10, 15)] * 2 + [10, 11],
                "ping_pong": [10, 11, 12, 13, 14, 13, 12, 11, 10, 11, 12, 13]}[mode]  # fmt: skip
    assert numbers(iter(frames)) == expected and frames[0].time_s == 0


def test_spacing_is_mirrored_going_back(tmp_path: Path) -> None:
    times = vary(16)
    path = make_film(tmp_path / "v.mp4", times_s=times, time_base=Fraction(1, 600))
    got = [frame.time_s for frame in islice(fit_length(path, Fraction(100), "ping_pong"), 31)]
    gaps = [b - a for a, b in pairwise(times)]
    assert [b - a for a, b in pairwise(got)] == [*gaps, *reversed(gaps)]


@pytest.mark.parametrize("mode", ["hold", "loop", "ping_pong"])
def test_one_frame_is_held(tmp_path: Path, mode: lengths.Extend) -> None:
    path = make_film(tmp_path / "v.mp4", 1)
    assert numbers(fit_length(path, Fraction(10, 25), mode)) == [0] * 10


def test_without_an_end(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 6)
    assert numbers(fit_length(path, None)) == list(range(6))
    with pytest.raises(ConfigError, match="give a duration"):
        fit_length(path, None, "loop")


def test_a_film_whose_jumps_fail_is_still_read_backwards(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A raw stream has no times and no index: every jump goes wrong."""
    path = make_film(tmp_path / "v.m4v.h264", 20, options={"g": "8"})
    expected = [*range(20), *range(18, -1, -1), *range(1, 12)]
    with caplog.at_level(logging.WARNING):
        assert numbers(islice(fit_length(path, Fraction(100), "ping_pong"), 50)) == expected


def test_streams_can_be_cut_and_held_only(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 6)
    stream = iter(VideoReader(path))
    assert numbers(fit_frames(stream, Fraction(9, 25), "hold", Fraction(25))) == [0, 1, 2, 3, 4, 5, 5, 5, 5]
    assert numbers(fit_frames(iter(VideoReader(path)), Fraction(3, 25), "none", Fraction(25))) == [0, 1, 2]
    with pytest.raises(ConfigError, match="come once"):
        fit_frames(stream, Fraction(1), "ping_pong", Fraction(25))


def test_going_back_holds_one_segment_whatever_the_length(tmp_path: Path) -> None:
    def peak(num_frames: int) -> int:
        path = make_film(tmp_path / f"{num_frames}.mp4", num_frames, options={"g": "50"})
        live = LivePictures()
        for frame in islice(fit_length(path, Fraction(1000), "ping_pong"), 2 * num_frames + 5):
            if frame.index >= num_frames and frame.index % 3 == 0:
                live.look()
        return live.most

    short, long = peak(15), peak(60)
    assert 5 <= short <= long <= 7 + 2


@pytest.mark.parametrize("mode", ["loop", "ping_pong"])
def test_a_film_that_is_long_enough_is_read_once(
    tmp_path: Path, mode: lengths.Extend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film as long as its speech is the usual case: no second decoder, no segment in memory for nothing."""
    opened: list[Path] = []
    decode = VideoReader._frames

    def counted(reader: VideoReader) -> Iterator[Frame]:
        opened.append(reader.path)
        return decode(reader)

    monkeypatch.setattr(VideoReader, "_frames", counted)
    path = make_film(tmp_path / "v.mp4", 20)
    assert numbers(fit_length(path, Fraction(20, 25), mode)) == list(range(20))
    assert len(opened) == 1
    assert len(numbers(fit_length(path, Fraction(21, 25), mode))) == 21
    assert len(opened) > 2
