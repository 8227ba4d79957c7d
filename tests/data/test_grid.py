"""The 25-frames grid over sources of any rate, and damaged spans."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from latentsync.data.clip import Source, whole
from latentsync.data.grid import grid_frames, grid_length
from latentsync.data.settings import NormaliseSettings, ProbeSettings, SegmentSettings
from latentsync.data.stages.normalise import Normalise
from latentsync.data.stages.probe import Probe, damaged_spans
from latentsync.data.stages.segments import Segments
from synth_media import make_film, number_of, tone, vary


def numbers(path: Path, start_s: Fraction, count: int) -> list[int]:
    return [number_of(frame.picture.rgb()) for frame, _ in grid_frames(path, start_s, count)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_source_at_25_maps_one_to_one(tmp_path: Path, suffix: str) -> None:
    film = make_film(tmp_path / f"film{suffix}", 60)
    assert numbers(film, Fraction(0), 60) == list(range(60))
    assert numbers(film, Fraction(20, 25), 10) == list(range(20, 30))


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001), Fraction(24), Fraction(50), Fraction(12)])
def test_at_other_rates_the_frame_that_is_on_is_shown(tmp_path: Path, fps: Fraction) -> None:
    film = make_film(tmp_path / "film.mp4", 48, fps)
    count = grid_length(Fraction(0), 48 / fps)
    shown = numbers(film, Fraction(0), count)
    for index, number in enumerate(shown):
        assert number / fps <= Fraction(index, 25) + Fraction(1, 200)
        assert (number + 1) / fps > Fraction(index, 25)


def test_variable_rates_go_by_their_times(tmp_path: Path) -> None:
    times = vary(40)
    film = make_film(tmp_path / "film.mkv", 40, times_s=times)
    shown = numbers(film, Fraction(0), int(times[-1] * 25))
    for index, number in enumerate(shown):
        on = max(k for k, time in enumerate(times) if time <= Fraction(index, 25) + Fraction(1, 200))
        assert number == on


def test_indices_and_times_are_the_grids(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 30, 30)
    frames = [frame for frame, _ in grid_frames(film, Fraction(1, 10), 15)]
    assert [frame.index for frame in frames] == list(range(15))
    assert [frame.time_s for frame in frames] == [Fraction(index, 25) for index in range(15)]


def probed(path: Path):
    clip = whole(Source(path.name, str(path), "ab"))
    found = Probe(ProbeSettings()).process(clip)
    return found[0] if isinstance(found, list) else found


def test_picture_and_sound_meet_in_their_common_span(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mkv", 60, sound=tone(1.5), sound_codec="pcm_s16le", sound_start_s=Fraction(1, 5))
    (clip,) = Normalise(NormaliseSettings()).process(probed(film))
    assert clip.start_s == Fraction(1, 5)
    assert clip.num_frames == 37  # 1.5 s
    assert probed(film).facts["mean_fps"] == 25


def test_slow_sources_are_rejected_with_their_rate(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 30, 10, sound=tone(3))
    found = Normalise(NormaliseSettings()).process(probed(film))
    assert (found.reason, found.value, found.limit) == ("too_slow", 10.0, 20.0)


def test_damaged_frames_and_holes_become_spans() -> None:
    step = Fraction(1, 25)
    times = [index * step for index in range(20)]
    bad = [index in (3, 4, 9) for index in range(20)]
    assert damaged_spans(times, bad, 20 * step, step) == [(3 * step, 5 * step), (9 * step, 10 * step)]
    missing = [time for index, time in enumerate(times) if index not in (5, 6, 7)]
    assert damaged_spans(missing, [False] * 17, 20 * step, step) == [(5 * step, 8 * step)]


def test_a_damaged_span_is_cut_out_and_named(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 60, sound=tone(2.4))
    clip = probed(film).known(damaged_spans='[["1", "6/5"]]')
    before, damaged, after = Normalise(NormaliseSettings()).process(clip)
    assert (before.num_frames, damaged.num_frames, after.start_s) == (25, 5, Fraction(6, 5))
    assert damaged.rejected.reason == "damaged_span"
    assert before.rejected is None is after.rejected


@pytest.mark.parametrize(("frames", "parts"), [(125, [125]), (250, [250]), (251, [126, 125]), (600, [200] * 3)])
def test_segments_are_equal_parts_without_a_rest(frames: int, parts: list[int]) -> None:
    clip = whole(Source("x", "x", "ab")).cut(0, frames)
    found = Segments(SegmentSettings()).process(clip)
    assert sorted(part.num_frames for part in found) == sorted(parts)
    assert found[0].start_s == 0
    for a, b in pairwise(found):
        assert a.end_s == b.start_s
    assert len({part.clip_id for part in found}) == len(parts)
