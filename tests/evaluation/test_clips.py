"""Lists of clips: hashes, persons, splits."""

import csv
from pathlib import Path

import pytest

from latentsync.core.errors import ConfigError, MediaError
from latentsync.evaluation.clips import UNKNOWN, TestClip, clips_of, read_phones, split_by_person, spread, write_list


def fill(root: Path) -> None:
    for name in ("anna/b.mp4", "anna/a.MP4", "ben/c.mkv", "d.mp4", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_a_folder_gives_persons_and_hashes(tmp_path: Path) -> None:
    fill(tmp_path)
    for hidden in ("._d.mp4", ".Trash/e.mp4"):  # as other systems leave them
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(hidden.encode())
    clips = clips_of(tmp_path)
    assert [(clip.path.name, clip.person) for clip in clips] == [
        ("a.MP4", "anna"), ("b.mp4", "anna"), ("c.mkv", "ben"), ("d.mp4", UNKNOWN),
    ]  # fmt: skip
    assert len({clip.sha256 for clip in clips}) == 4


def test_a_video_is_a_clip_by_itself_and_no_list(tmp_path: Path) -> None:
    fill(tmp_path)
    (found,) = clips_of(tmp_path / "anna" / "a.MP4")
    assert (found.path.name, found.person) == ("a.MP4", "a")
    (tmp_path / "speech.wav").write_bytes(bytes(range(256)))
    with pytest.raises(MediaError, match=r"speech\.wav: neither a video nor a CSV list"):
        clips_of(tmp_path / "speech.wav")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no clips"):
        clips_of(tmp_path)
    with pytest.raises(MediaError, match="no such"):
        clips_of(tmp_path / "nothing")


def test_a_list_survives_the_round_trip_and_guards_the_content(tmp_path: Path) -> None:
    fill(tmp_path)
    clips = clips_of(tmp_path)
    write_list(clips, tmp_path / "clips.csv")
    assert clips_of(tmp_path / "clips.csv") == clips
    (tmp_path / "d.mp4").write_bytes(b"something else")
    with pytest.raises(MediaError, match="SHA-256"):
        clips_of(tmp_path / "clips.csv")
    (tmp_path / "d.mp4").unlink()
    with pytest.raises(MediaError, match="missing"):
        clips_of(tmp_path / "clips.csv")


def test_phones_come_with_a_list(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "d.json").write_text('[[0.1, 0.2, "B"], [0.2, 0.4, "AA1"]]')
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "person", "phones"], ["d.mp4", "dora", "d.json"]])
    (clip,) = clips_of(tmp_path / "list.csv")
    assert clip.person == "dora" and clip.phones == ((0.1, 0.2, "B"), (0.2, 0.4, "AA1"))
    (tmp_path / "d.json").write_text('[[0.1, "B"]]')
    with pytest.raises(MediaError, match="JSON list"):
        read_phones(tmp_path / "d.json")
    (tmp_path / "list.csv").write_text("path\nd.mp4\n")
    with pytest.raises(MediaError, match="columns"):
        clips_of(tmp_path / "list.csv")


def people(*counts: int) -> list[TestClip]:
    return [
        TestClip(Path(f"{person}{index}.mp4"), f"p{person}", f"{person}{index}" * 8)
        for person, count in enumerate(counts)
        for index in range(count)
    ]


def test_no_person_is_on_both_sides_of_a_split() -> None:
    clips = people(3, 1, 4, 2, 2)
    train, test = split_by_person(clips, 0.4, seed=1)
    assert len({clip.person for clip in test}) == 2
    assert {clip.person for clip in train}.isdisjoint(clip.person for clip in test)
    assert len(train) + len(test) == len(clips)
    assert split_by_person(clips, 0.4, seed=1)[1] == test
    assert {tuple(c.person for c in split_by_person(clips, 0.4, seed)[1]) for seed in range(8)} != {
        tuple(c.person for c in test)
    }
    with pytest.raises(ConfigError, match="two or more"):
        split_by_person(people(5), 0.5, seed=0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_by_person(clips, 1.0, seed=0)


def test_few_clips_are_spread_over_people() -> None:
    chosen = spread(people(3, 1, 4), 4)
    assert [clip.person for clip in chosen] == ["p0", "p1", "p2", "p0"]
    assert len(spread(people(2, 2), None)) == 4
