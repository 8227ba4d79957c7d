"""Plans: the same from three kinds of file, times in every spelling, and refusals that say the fix."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.config.plan import Plan, PlanEntry, load_plan
from latentsync.core.errors import ConfigError

YAML = """
entries:
  - audio: sounds/anna.wav
    face: left
    start: 1:02.5
    end: 1:04
  - {audio: ben.wav, face: "0.5,0.1,0.25,0.5", start: 2, audio_start: 0.5, sound: mix}
"""
CSV = """audio,face,start,end,audio_start,sound
sounds/anna.wav,left,00:01:02.500,64,,
ben.wav,"0.5,0.1,0.25,0.5",2,,0.5,mix
"""
SHEET = CSV.replace("\n", ",,\n").replace("ben", ",,,,,,,\nben") + ",,,,,,,\n"
"""The same as a spreadsheet may leave it: columns without a name, rows without a word."""
SEMICOLONS = """audio;face;start;end;audio_start;sound
sounds/anna.wav;left;00:01:02,500;64;;
ben.wav;0.5,0.1,0.25,0.5;2;;0,5;mix
"""
JSON = [
    {"audio": "sounds/anna.wav", "face": "left", "start": 62.5, "end": "01:04"},
    {"audio": "ben.wav", "face": "0.5,0.1,0.25,0.5", "start": 2, "audio_start": 0.5, "sound": "mix"},
]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", YAML), ("p.yml", YAML), ("p.csv", CSV), ("p.csv", "\ufeff" + CSV), ("p.csv", SHEET),
        ("p.csv", SEMICOLONS), ("p.json", ""),
    ],
)  # fmt: skip
def test_the_three_kinds_of_file_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    plan = load_plan(written(tmp_path, name, text or json.dumps(JSON)))
    assert plan.entries == (
        PlanEntry(
            audio=tmp_path / "ben.wav", face="0.5,0.1,0.25,0.5", start_s=Fraction(2), audio_start_s=Fraction(1, 2),
            sound="mix",
        ),
        PlanEntry(audio=tmp_path / "sounds/anna.wav", face="left", start_s=Fraction(125, 2), end_s=Fraction(64)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", Fraction(5)), ("1:00:02.5", Fraction(7205, 2)), ("00:00:02,250", Fraction(9, 4)),
        ("00:00:02:12", Fraction(72) / Fraction(30000, 1001)), ("1:00:00:00", Fraction(108000) / Fraction(30000, 1001)),
    ],
)  # fmt: skip
def test_times_and_timecodes(tmp_path: Path, text: str, seconds: Fraction) -> None:
    """YAML 1.1 alone would read 1:00:00:00 as a number of base 60."""
    path = written(tmp_path, "p.yaml", f"- {{audio: a.wav, start: {text!r}}}".replace("'", ""))
    if "," in text:
        path = written(tmp_path, "p.csv", f'audio,start\na.wav,"{text}"\n')
    assert load_plan(path, Fraction(30000, 1001)).entries[0].start_s == seconds


def test_a_picture_of_the_person_lies_beside_the_plan(tmp_path: Path) -> None:
    written(tmp_path, "anna.jpg", "")
    plan = load_plan(written(tmp_path, "p.yaml", "[{audio: a.wav, face: anna.jpg}, {audio: b.wav, face: 1}]"))
    assert [entry.face for entry in plan.entries] == [str(tmp_path / "anna.jpg"), "1"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.yaml", "- {audio: a.wav, begin: 3}", "entry 1: begin 3: unknown setting; choose one of audio, face, start"),
        ("p.yaml", "- {audio: a.wav, strat: 3}", "did you mean start"),
        ("p.yaml", "- {face: left}", "entry 1: audio : missing"),
        ("p.yaml", "- {audio: a.wav, start: soon}", "entry 1: start soon: write seconds"),
        ("p.yaml", "- {audio: a.wav, start: '00:00:01:25'}", "frames below the video's rate"),
        ("p.yaml", "- {audio: a.wav, start: '00:00:01:²'}", "frames below the video's rate"),
        ("p.yaml", "- {audio: a.wav, start: 4, end: 3}", "a.wav from 4 s to 3 s: choose an end after the start"),
        ("p.yaml", "- {audio: a.wav, sound: loud}", "choose sound of replace, mix"),
        ("p.yaml", "audio: a.wav", "write a list of entries"),
        ("p.yaml", "- a.wav", "entry 1: write 'key: value' pairs"),
        ("p.yaml", "- {audio: [a, b]}", "each with one value"),
        ("p.yaml", "[]", "is empty"),
        ("p.yaml", "- {audio: a", "not valid YAML at line 1"),
        ("p.json", "[\n{]", "not valid JSON at line 2"),
        ("p.csv", "audio,face\na.wav,640,360\n", "too many values; quote a face"),
        ("p.csv", "audio,face,\na.wav,left,0:01\n", "entry 1: '0:01' stands in a column without a name"),
        ("p.txt", "", "name it .yaml, .json, .csv, .srt"),
        (
            "p.yaml", "[{audio: a.wav, face: left, end: 3}, {audio: b.wav, face: left, start: 2}]",
            "face left cannot say two things at once: a.wav from 0 s to 3 s, b.wav from 2 s to the end",
        ),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_in_words(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as given:
        load_plan(written(tmp_path, name, text), Fraction(25))
    assert says in str(given.value)
    assert name in str(given.value.value)


def test_two_faces_may_speak_at_once_and_one_after_the_other() -> None:
    a, b = Path("a.wav"), Path("b.wav")
    first = PlanEntry(audio=a, face="left", end_s=Fraction(3))
    Plan((first, PlanEntry(audio=b, face="right", start_s=Fraction(1))))
    Plan((first, PlanEntry(audio=b, face="left", start_s=Fraction(3))))


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_plan(tmp_path / "none.yaml")
