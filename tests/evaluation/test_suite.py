"""A suite on drawn talkers: a perfect model wins, a deaf one is found out, and the report says so."""

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from talkers import MouthTracker, babble, deaf_driver, perfect_driver, write_talker

from latentsync.core.errors import ConfigError, MediaError
from latentsync.evaluation import report
from latentsync.evaluation.clips import clips_of
from latentsync.evaluation.distributions import Collector
from latentsync.evaluation.methods import Driver, Method
from latentsync.evaluation.results import FROZEN, MODEL, REAL, SHUFFLED, UNTOUCHED, SuiteOptions, SuiteResult
from latentsync.evaluation.scoring import Judges
from latentsync.evaluation.single import score_result, write_single_report
from latentsync.evaluation.suite import run_suite
from latentsync.media import VideoReader, VideoWriter, fit_length
from latentsync.metrics.frechet import FeatureNetwork
from latentsync.metrics.sync import SyncScore

OPTIONS = SuiteOptions(resolution=64, seed=3)


def driven_by(driver: Driver) -> list[Method]:
    return [Method(MODEL, driver, chunk_frames=16)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, one clip each, in a folder per person."""
    root = tmp_path_factory.mktemp("clips")
    for person in range(2):
        (root / f"p{person}").mkdir()
        write_talker(root / f"p{person}" / "talk.mp4", babble(person), person, spread=babble(person + 10))
    return root


def loudness_judge(watched: object, path: Path | None, wave: np.ndarray) -> SyncScore | None:
    level = float(np.abs(wave).mean())
    return None if path is None else SyncScore(level, 1 - level, 0, level, (1.0,), 1)


@pytest.fixture(scope="module")
def perfect(folder: Path) -> SuiteResult:
    network = FeatureNetwork("stand-in", lambda x: x.reshape(len(x), 3, -1).mean(axis=2))
    judges = Judges(own=loudness_judge, names=("own SyncNet: loudness",))
    collectors = [Collector("FID", network, 32)]
    return run_suite(clips_of(folder), driven_by(perfect_driver), MouthTracker(), OPTIONS, judges, collectors)


def mean(result: SuiteResult, protocol: str, system: str, name: str) -> float:
    return report.tables(result.rows)[protocol][name][system].mean


def test_every_case_is_done_with_every_baseline(perfect: SuiteResult) -> None:
    assert perfect.failed == []
    found = {(row.protocol, row.system) for row in perfect.rows}
    for protocol in OPTIONS.protocols:
        assert {(protocol, s) for s in (MODEL, UNTOUCHED, FROZEN, REAL)} <= found
    assert ("cross", SHUFFLED) in found
    assert len(perfect.evidence) == 2 * 4
    assert all(np.isfinite(value) for row in perfect.rows for value in row.scores.values())


def test_a_mouth_that_follows_wins_over_every_baseline(perfect: SuiteResult) -> None:
    assert mean(perfect, "cross", MODEL, "cross_r") > 0.95
    assert mean(perfect, "cross", MODEL, "lag_frames") == 0
    assert mean(perfect, "cross", MODEL, "leakage") < 0.25
    assert mean(perfect, "cross", FROZEN, "cross_r") < 0.2
    assert mean(perfect, "cross", UNTOUCHED, "cross_r") < 0.5
    assert mean(perfect, "cross", SHUFFLED, "cross_r") < 0.5
    assert mean(perfect, "cross", UNTOUCHED, "leakage") > 0.6


def test_the_width_of_a_mouth_is_compared_with_the_speakers_own(perfect: SuiteResult) -> None:
    assert mean(perfect, "cross", MODEL, "width_r") > 0.95
    assert mean(perfect, "shifted", MODEL, "width_r") > 0.95
    for system in (UNTOUCHED, FROZEN, SHUFFLED):
        assert mean(perfect, "cross", system, "width_r") < 0.5
    assert mean(perfect, "cross", REAL, "width_r") > 0.98  # the same mouth measured a second time
    having = {(row.protocol, row.system) for row in perfect.rows if "width_r" in row.scores}
    following = {(row.protocol, row.system) for row in perfect.rows if "cross_r" in row.scores}
    assert having == following  # neither in silence nor of the clip itself


def test_silence_and_delay_are_obeyed(perfect: SuiteResult) -> None:
    assert mean(perfect, "silent", MODEL, "still_share") == 1.0
    assert mean(perfect, "silent", UNTOUCHED, "still_share") < 0.7
    assert mean(perfect, "shifted", MODEL, "lag_frames") == 0
    assert mean(perfect, "shifted", UNTOUCHED, "lag_frames") == -OPTIONS.shift_frames


def test_reconstruction_cannot_be_copied_from_the_input(perfect: SuiteResult) -> None:
    assert mean(perfect, "reconstruction", MODEL, "lmd_pct") < 0.6 * mean(
        perfect, "reconstruction", UNTOUCHED, "lmd_pct"
    )
    assert mean(perfect, "reconstruction", MODEL, "psnr_mouth_db") > mean(
        perfect, "reconstruction", UNTOUCHED, "psnr_mouth_db"
    )
    assert mean(perfect, "reconstruction", UNTOUCHED, "psnr_rest_db") > 35


def test_a_deaf_model_is_found_out(folder: Path) -> None:
    options = SuiteOptions(resolution=64, seed=3, protocols=("cross",))
    found = run_suite(clips_of(folder), driven_by(deaf_driver), MouthTracker(), options)
    assert mean(found, "cross", MODEL, "leakage") > 0.6
    assert mean(found, "cross", MODEL, "cross_r") < 0.5


def test_the_report_holds_everything_and_needs_no_other_file(perfect: SuiteResult, tmp_path: Path) -> None:
    paths = report.write_report(perfect, tmp_path, {"model": "drawn <b>"})
    data = json.loads(paths["report.json"].read_text())
    assert data["tables"]["cross"]["cross_r"]["model"]["num_groups"] == 2
    assert [len(clip["sha256"]) for clip in data["clips"]] == [64] * 2
    assert {line["frechet"]["network"] for line in data["distributions"]} == {"stand-in"}
    lines = list(csv.DictReader(paths["scores.csv"].open()))
    assert len(lines) == len(perfect.rows)
    assert {line["system"] for line in lines} == {MODEL, UNTOUCHED, FROZEN, SHUFFLED, REAL}
    page = paths["report.html"].read_text()
    assert "drawn &lt;b&gt;" in page and page.count("<svg") == page.count("data:image/jpeg") == len(perfect.evidence)
    assert "http" not in page and "src=" in page


def test_the_worst_clips_come_first(perfect: SuiteResult) -> None:
    cross = [item for item in perfect.evidence if item.row.protocol == "cross"]
    ordered = [item.row.scores["cross_r"] for item in report.worst_first(cross)]
    assert ordered == sorted(ordered)
    moved = [item for item in perfect.evidence if item.row.protocol == "reconstruction"]
    ordered = [item.row.scores["lmd_pct"] for item in report.worst_first(moved)]
    assert ordered == sorted(ordered, reverse=True)


def test_a_refusing_model_is_listed_and_the_suite_goes_on(folder: Path) -> None:
    def refuses_one(video: Path, speech: Path, out: Path) -> None:
        if video.parent.name == "p1":
            raise MediaError("p1: cannot")
        deaf_driver(video, speech, out)

    options = SuiteOptions(resolution=64, protocols=("silent",))
    found = run_suite(clips_of(folder), driven_by(refuses_one), MouthTracker(), options)
    assert [(protocol, why) for _, protocol, why in found.failed] == [("silent", "p1: cannot")]
    assert {row.person for row in found.rows if row.system == MODEL} == {"p0"}
    assert "p1: cannot" in report.html(found, {})


def test_files_in_between_are_told_by_their_clip(folder: Path) -> None:
    def refuses(video: Path, speech: Path, out: Path) -> None:
        raise MediaError(f"{video}: no face for {speech}")

    found = run_suite(clips_of(folder), driven_by(refuses), MouthTracker(), SuiteOptions(protocols=("reconstruction",)))
    assert not [row for row in found.rows if row.system == MODEL]
    for clip, protocol, why in found.failed:
        assert why == f"{clip}-moved.mkv: no face for {clip}-{protocol}-speech.wav"


def test_cross_driving_needs_two_people_and_options_are_checked(folder: Path) -> None:
    with pytest.raises(ConfigError, match="two or more persons"):
        run_suite(clips_of(folder / "p0"), driven_by(perfect_driver), MouthTracker(), OPTIONS)
    with pytest.raises(ConfigError, match="protocol"):
        SuiteOptions(protocols=("single",))
    with pytest.raises(ConfigError, match="shift_frames"):
        SuiteOptions(shift_frames=0)


def test_one_result_gets_a_report_of_its_own(folder: Path, tmp_path: Path) -> None:
    video, speech = folder / "p0" / "talk.mp4", folder / "p1" / "talk.mp4"
    out = tmp_path / "out.mp4"
    perfect_driver(video, speech, out)
    paths = write_single_report(video, speech, out, tmp_path, MouthTracker())
    scores = {row["system"]: row["scores"] for row in json.loads(paths["report.json"].read_text())["rows"]}
    assert scores[UNTOUCHED]["leakage"] > scores[MODEL]["leakage"] + 0.3
    assert not {"cross_r", "width_r"} & set(scores[MODEL])


def test_a_result_of_a_part_is_laid_beside_that_part(tmp_path: Path) -> None:
    """Left as it is, and run on backwards: it is what it was, however the video goes on."""
    video = write_talker(tmp_path / "talk.mp4", babble(3, 75), 3)
    start_s, end_s = Fraction(1), Fraction(2)
    with (
        VideoReader(video, start_s, end_s) as reader,
        VideoWriter(tmp_path / "out.mp4", reader.info, crf=1.0) as writer,
    ):
        for frame in fit_length(reader, Fraction(2), "ping_pong"):
            writer.write(frame)
    files = video, video, tmp_path / "out.mp4"
    part, early, late = (
        score_result(*files, MouthTracker(), options=OPTIONS, start_s=start, end_s=end).rows[0].scores
        for start, end in ((start_s, end_s), (None, end_s), (start_s, None))
    )
    assert part["leakage_r"] > 0.99
    assert max(early["leakage_r"], late["leakage_r"]) < 0.9
