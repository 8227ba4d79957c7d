"""Which of several sound tracks is heard and written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from small_films import SMALL, frames
from track_films import hz_of, make_tracks

from latentsync.core.errors import MediaError
from latentsync.media.audio import read_audio
from latentsync.media.information import probe
from latentsync.media.mixing import Insert, MixPlan
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter


@pytest.mark.parametrize(("track", "hz"), [(None, 900), ("0", 300), ("2", 2000), ("deu", 900), ("ger", 900),
                                           ("en", 300), ("fr-CA", 2000), ("fre", 2000)])  # fmt: skip
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_chosen_track_is_heard_and_without_a_choice_the_default_one(
    tmp_path: Path, suffix: str, track: str | None, hz: int
) -> None:
    path = make_tracks(tmp_path / f"a{suffix}")
    assert hz_of(read_audio(path, track=track)) == pytest.approx(hz, abs=5)
    later = read_audio(path, Fraction(1, 4), Fraction(3, 4), track)
    assert len(later) == 8000 and hz_of(later) == pytest.approx(hz, abs=5)


def test_tracks_are_told(tmp_path: Path) -> None:
    media = probe(make_tracks(tmp_path / "a.mkv"))
    assert [each.words for each in media.sounds] == ["0 (eng, mono)", "1 (deu, mono, default)", "2 (fra, mono)"]
    assert media.audio is not None and media.audio.number == 1


@pytest.mark.parametrize("track", ["3", "spa", "-1", "99999999999999999999", "no language", "und"])
def test_a_track_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, track: str) -> None:
    with pytest.raises(
        MediaError, match=r"no sound track .*0 \(eng, mono\), 1 \(deu, mono, default\), 2 \(fra, mono\)"
    ):
        probe(make_tracks(tmp_path / "a.mkv"), track)


def test_of_two_tracks_in_one_language_the_default_one_is_meant(tmp_path: Path) -> None:
    both = make_tracks(tmp_path / "a.mkv", [("eng", 300, False), ("eng", 900, True)])
    assert hz_of(read_audio(both, track="eng")) == pytest.approx(900, abs=5)
    neither = make_tracks(tmp_path / "b.mkv", [("eng", 300, False), ("eng", 900, False)])
    with pytest.raises(MediaError, match="several sound tracks 'eng'"):
        probe(neither, "eng")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])  # copied, encoded
def test_the_chosen_track_is_written(tmp_path: Path, suffix: str) -> None:
    source = make_tracks(tmp_path / "a.mkv")
    for track, hz in ((None, 900), ("fra", 2000)):
        out = tmp_path / f"out{suffix}"
        with VideoWriter(out, SMALL, audio=AudioPlan(source, track=track)) as writer:
            for frame in frames(20):
                writer.write(frame)
        assert hz_of(read_audio(out)) == pytest.approx(hz, abs=5)


def test_a_mix_takes_the_chosen_tracks(tmp_path: Path) -> None:
    source = make_tracks(tmp_path / "a.mkv")
    insert = Insert(source, Fraction(2, 5), Fraction(2, 5), track="0")
    with VideoWriter(tmp_path / "out.mkv", SMALL, audio=MixPlan(source, (insert,), track="fra")) as writer:
        for frame in frames(20):
            writer.write(frame)
    wave = read_audio(tmp_path / "out.mkv")
    assert hz_of(wave[:6000]) == pytest.approx(2000, abs=5) and hz_of(wave[7000:12000]) == pytest.approx(300, abs=5)
