"""Other methods' videos are scored beside a model; a suite goes on where it was; a file's name makes nobody."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import talkers
from talkers import MouthTracker, babble, deaf_driver, perfect_driver, write_talker

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.values import Frame
from latentsync.data.sources import Speaker
from latentsync.evaluation import report
from latentsync.evaluation.clips import UNKNOWN, TestClip, clips_of
from latentsync.evaluation.methods import Method, parse_results, result_of
from latentsync.evaluation.people import grouped_by_face, groups
from latentsync.evaluation.results import FROZEN, UNTOUCHED, SuiteOptions, SuiteResult
from latentsync.evaluation.suite import prepare_inputs, run_suite
from latentsync.evaluation.watching import watch
from latentsync.faces.topology import LEFT_EYE_OUTER
from latentsync.media.pixels import RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.metrics.lips import lagged_correlation

OPTIONS = SuiteOptions(resolution=64, seed=3, protocols=("paired", "cross"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[TestClip]:
    root = tmp_path_factory.mktemp("clips")
    for person in range(2):
        write_talker(root / f"s{person}-talk.mp4", babble(person), person)
    return clips_of(root, Speaker(r"(s\d)-"))


@pytest.fixture(scope="module")
def foreign(clips: list[TestClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another method made of the suite's inputs: perfect ones, where the list says; in one folder as in papers."""
    root = tmp_path_factory.mktemp("foreign")
    given = prepare_inputs(clips, MouthTracker(), root / "inputs", OPTIONS)
    with given.open() as file:
        lines = list(csv.DictReader(file))
    assert {line["protocol"] for line in lines} == {"paired", "cross"} and len(lines) == 4
    for line in lines:
        target = root / "theirs" / line["result"]
        target.parent.mkdir(parents=True, exist_ok=True)
        perfect_driver(root / "inputs" / line["video"], root / "inputs" / line["speech"], target)
    return root / "theirs"


def run(clips: list[TestClip], methods: list[Method], keep: Path | None = None) -> SuiteResult:
    return run_suite(clips, methods, MouthTracker(), OPTIONS, keep=keep)


def mean(result: SuiteResult, protocol: str, system: str, name: str) -> float:
    return report.tables(result.rows, result.methods)[protocol][name][system].mean


def test_a_folder_of_results_is_scored_beside_a_model(clips: list[TestClip], foreign: Path) -> None:
    methods = [Method("deaf", deaf_driver), *parse_results([f"theirs={foreign}"], clips, OPTIONS.protocols)]
    found = run(clips, methods)
    assert found.failed == []
    assert found.systems[:4] == ["deaf", "theirs", UNTOUCHED, FROZEN]
    assert mean(found, "cross", "theirs", "cross_r") > 0.95 > 0.5 > mean(found, "cross", "deaf", "cross_r")
    assert mean(found, "paired", "theirs", "lmd_pct") < 0.5
    assert mean(found, "paired", UNTOUCHED, "lmd_pct") == 0
    assert "theirs, shuffled audio" in found.systems


def test_the_names_of_files_that_are_taken_for_results(clips: list[TestClip], tmp_path: Path) -> None:
    clip = clips[0]
    for name, protocol in (
        (f"{clip.path.stem}.mp4", "paired"),
        (f"{clip.path.stem}-cross.mov", "cross"),
        (f"silent/{clip.clip_id}.mp4", "silent"),
        (f"shifted/{clip.person}/{clip.path.stem}.mp4", "shifted"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert result_of(tmp_path, clip, protocol, clips) == tmp_path / name  # type: ignore[arg-type]
    assert result_of(tmp_path, clip, "reconstruction", clips) is None
    assert result_of(tmp_path, clips[1], "paired", clips) is None
    twin = TestClip(Path("elsewhere") / clip.path.name, "x", "ab" * 32)
    assert result_of(tmp_path, clip, "paired", [clip, twin]) is None  # whose it is cannot be said


def test_what_is_no_folder_of_results_is_told(clips: list[TestClip], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write NAME=FOLDER"):
        parse_results(["theirs"], clips, OPTIONS.protocols)
    with pytest.raises(MediaError, match="no such folder"):
        parse_results([f"theirs={tmp_path / 'none'}"], clips, OPTIONS.protocols)
    with pytest.raises(MediaError, match=r"Looked for paired/s0-talk\.mp4"):
        parse_results([f"theirs={tmp_path}"], clips, OPTIONS.protocols)
    with pytest.raises(ConfigError, match="another column's"):
        run(clips, [Method(FROZEN, deaf_driver)])


def test_a_video_that_a_method_did_not_make_is_listed(clips: list[TestClip], tmp_path: Path) -> None:
    perfect_driver(clips[0].path, clips[0].path, tmp_path / f"{clips[0].path.stem}.mp4")
    found = run_suite(
        clips, [Method("theirs", folder=tmp_path)], MouthTracker(), SuiteOptions(resolution=64, protocols=("paired",))
    )
    assert [(clip, protocol) for clip, protocol, _ in found.failed] == [(clips[1].clip_id, "paired")]
    assert {row.clip_id for row in found.rows if row.system == "theirs"} == {clips[0].clip_id}


@pytest.mark.parametrize("fps", [30, 50])
def test_a_result_at_another_rate_is_laid_beside_the_clip_by_time(
    clips: list[TestClip], tmp_path: Path, fps: int
) -> None:
    """Frames of the clip itself, repeated: every score is that of the clip."""
    with VideoReader(clips[0].path) as reader:
        frames = list(reader)
    with VideoWriter(tmp_path / "fast.mp4", replace(reader.info, fps=Fraction(fps)), crf=1.0) as writer:
        for index in range(len(frames) * fps // 25):
            frame = frames[index * 25 // fps]
            writer.write(replace(frame, index=index, time_s=Fraction(index, fps)))
    real = watch(clips[0].path, MouthTracker(), 64)
    fast = watch(tmp_path / "fast.mp4", MouthTracker(), 64, real)
    beside = real.at(fast.times_s)
    assert len(fast) == len(beside) == len(frames) * fps // 25
    apart = np.abs(fast.landmarks[:, LEFT_EYE_OUTER] - beside.landmarks[:, LEFT_EYE_OUTER])
    assert apart.max() == 0
    assert lagged_correlation(fast.opening, real.opening).best_r > 0.9
    assert real.at(real.times_s).opening.tolist() == real.opening.tolist()


def test_a_suite_that_was_broken_off_goes_on(clips: list[TestClip], tmp_path: Path) -> None:
    calls: list[str] = []

    def driver(video: Path, speech: Path, out: Path) -> None:
        calls.append(out.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        deaf_driver(video, speech, out)

    with pytest.raises(KeyboardInterrupt):
        run(clips, [Method("m", driver, settings="a")], tmp_path)
    again = run(clips, [Method("m", driver, settings="a")], tmp_path)
    assert len(calls) == 3 + 2  # the third anew, and the fourth
    fresh = run(clips, [Method("m", deaf_driver, settings="a")])
    assert again.rows == fresh.rows
    assert [item.strip for item in again.evidence] == [item.strip for item in fresh.evidence]
    run(clips, [Method("m", driver, settings="other weights")], tmp_path)
    assert len(calls) == 5 + 4


def test_a_damaged_score_is_made_again(clips: list[TestClip], tmp_path: Path) -> None:
    first = run(clips, [Method("m", deaf_driver)], tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"PK nothing")
    assert run(clips, [Method("m", deaf_driver)], tmp_path).rows == first.rows


def test_people_in_a_flat_folder_are_told_apart_by_their_faces(tmp_path: Path) -> None:
    for name, stripes in (("a.mp4", (1, 0)), ("b.mp4", (0, 1)), ("c.mp4", (1, 0))):
        y, x = np.mgrid[: talkers.SIDE, : talkers.SIDE]
        brow = (60 * np.sin((stripes[0] * x + stripes[1] * y) / 2) * (y < 70)).astype(int)
        with VideoWriter(tmp_path / name, like=talkers.INFO) as writer:
            for index in range(3):
                picture = np.clip(talkers.portrait(0.1 * index, len(name)) + brow[..., None], 0, 255)
                writer.write(Frame(index, Fraction(index, 25), RgbPicture(picture.astype(np.uint8))))
    found = clips_of(tmp_path)
    assert {clip.person for clip in found} == {UNKNOWN}
    named = grouped_by_face(found, MouthTracker())
    assert [clip.person for clip in named] == ["face-1", "face-2", "face-1"]
    assert [clip.person for clip in grouped_by_face(found[:1], MouthTracker())] == ["a"]


def test_a_chain_of_likeness_is_one_person() -> None:
    steps = np.zeros((4, 324))
    steps[:, 0] = [0.0, 1.8, 3.6, 20.0]  # neighbours alike, the ends not
    assert groups(list(steps)) == [0, 0, 0, 1]
    assert groups([steps[0], steps[2], steps[3]]) == [0, 1, 2]
