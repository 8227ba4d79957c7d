"""Exports of dubbing studios as plans: subtitles with a file for each line, edit decision lists, OpenTimelineIO."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.config.plan import load_plan
from latentsync.core.errors import ConfigError

SRT = """1
00:00:01,000 --> 00:00:02,500
Guten Tag.

12
00:00:03,000 --> 00:00:04,000
<i>zwei
Zeilen</i>

"""
VTT = """WEBVTT - made by hand

NOTE
--> is no cue

hello
00:01.000 --> 00:02.500 align:start
<v Anna>Guten Tag.

00:00:03.000 --> 00:00:04.000
second.wav
"""
EDL = """TITLE: REEL 1
FCM: NON-DROP FRAME

001  AX       V     C        00:00:00:00 00:00:04:00 01:00:00:00 01:00:04:00
* FROM CLIP NAME: film.mov
002  AX       A     C        00:00:00:12 00:00:02:00 01:00:01:00 01:00:02:13
* FROM CLIP NAME: line 1.wav
003  AX       A2    C        00:00:00:00 00:00:01:00 01:00:03:00 01:00:04:00
* FROM CLIP NAME: line 2.wav
"""


def written(folder: Path, name: str, text: str, *beside: str) -> Path:
    for each in beside:
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).touch()
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_subtitles_take_their_lines_from_the_folder_of_their_name(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, "film.srt", SRT.replace("\n", "\r\n"), "film/1.wav", "film/0012.flac"))
    assert [(entry.audio, entry.start_s, entry.end_s) for entry in plan.entries] == [
        (tmp_path / "film/1.wav", 1, Fraction(5, 2)), (tmp_path / "film/0012.flac", 3, 4),
    ]  # fmt: skip


def test_webvtt_names_its_lines_and_its_people(tmp_path: Path) -> None:
    beside = ("film/hello.mp3", "second.wav", "Anna.png")
    first, second = load_plan(written(tmp_path, "film.vtt", VTT, *beside)).entries
    assert (first.audio, first.face, first.end_s) == (tmp_path / "film/hello.mp3", str(tmp_path / "Anna.png"), 2.5)
    assert (second.audio, second.face, second.start_s) == (tmp_path / "second.wav", None, 3)


def test_an_edit_decision_list_counts_from_the_videos_timecode(tmp_path: Path) -> None:
    path = written(tmp_path, "reel.edl", EDL)
    first, second = load_plan(path, Fraction(25), "01:00:00:00").entries
    assert (first.audio, first.start_s, first.end_s) == (tmp_path / "line 1.wav", 1, Fraction(63, 25))
    assert (first.audio_start_s, second.audio_start_s, second.start_s) == (Fraction(12, 25), 0, 3)


def test_drop_frame_lists_are_counted_as_they_drop(tmp_path: Path) -> None:
    event = "001  AX  A  C  00:00:00;00 00:00:01;00 01:01:00;02 01:01:01;02\n* FROM CLIP NAME: a.wav\n"
    (entry,) = load_plan(written(tmp_path, "r.edl", event), Fraction(30000, 1001), "01:00:00;00").entries
    assert entry.start_s == Fraction(1800 * 1001, 30000)


def make_otio(path: Path, media: str | None) -> None:
    otio = pytest.importorskip("opentimelineio")
    time = otio.opentime

    def span(start: float, length: float) -> object:
        return time.TimeRange(time.RationalTime(start, 25), time.RationalTime(length, 25))

    reference = otio.schema.MissingReference()
    if media is not None:
        reference = otio.schema.ExternalReference(media, span(100, 500))
    clip = otio.schema.Clip("line", reference, span(110, 50), metadata={"latentsync": {"face": "left"}})
    sound = otio.schema.Track("dub", [otio.schema.Gap(source_range=span(0, 75)), clip], kind="Audio")
    picture = otio.schema.Track("film", [otio.schema.Clip("film", source_range=span(0, 500))], kind="Video")
    otio.adapters.write_to_file(otio.schema.Timeline("film", tracks=[picture, sound]), str(path))


def test_a_timeline_is_a_plan(tmp_path: Path) -> None:
    make_otio(tmp_path / "film.otio", "file:///studio/line%201.wav")
    (entry,) = load_plan(tmp_path / "film.otio").entries
    assert (entry.audio, entry.face) == (Path("/studio/line 1.wav"), "left")
    assert (entry.start_s, entry.end_s, entry.audio_start_s) == (3, 5, Fraction(10, 25))


def test_columns_have_the_names_that_exports_give_them(tmp_path: Path) -> None:
    text = "Source File;TC In;TC Out;Face\na.wav;00:00:01:05;00:00:02,5;left\n"
    (entry,) = load_plan(written(tmp_path, "p.csv", text), Fraction(25)).entries
    assert (entry.audio, entry.start_s, entry.end_s) == (tmp_path / "a.wav", Fraction(6, 5), Fraction(5, 2))


@pytest.mark.parametrize(("name", "text", "says"), [
    ("film.srt", SRT, r"cue 1 \(block 1\) has no sound: put 1.wav into film/"),
    ("film.srt", "no cue here", "is empty"),
    ("film.srt", "1\n00:99:00,000 --> 00:00:01,000\na.wav", "write seconds"),
    ("film.srt", "../../etc\n00:00:01,000 --> 00:00:02,000\nx", "has no sound"),
    ("r.edl", EDL.replace("* FROM CLIP NAME: line 1.wav\n", ""), "event 002: name its file"),
    ("r.edl", EDL.replace("01:00:03:00", "01:00:03:30"), "event 003: write timecode of 25 frames"),
    ("r.edl", EDL.replace("01:00:03:00", "00:59:03:00"), "event 003: begins before the video"),
    ("t.otio", "{}", "not a timeline"),
    ("t.otio", "not json", "not a timeline"),
])  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, says: str) -> None:
    if name.endswith(".otio"):
        pytest.importorskip("opentimelineio")
    path = written(tmp_path, name, text, "a.wav")
    with pytest.raises(ConfigError, match=says) as given:
        load_plan(path, Fraction(25), "01:00:00:00")
    assert name in str(given.value) and "\n" not in str(given.value)


def test_a_clip_without_a_file_is_told(tmp_path: Path) -> None:
    make_otio(tmp_path / "film.otio", None)
    with pytest.raises(ConfigError, match="'line' has no file"):
        load_plan(tmp_path / "film.otio")
