"""One result's page: a verdict in words for each person and shot, the seed of the run, both videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from talkers import MouthTracker, babble, perfect_driver, write_talker

import latentsync
from latentsync.core.values import Face, Frame
from latentsync.evaluation.director import headline, picture_words, sync_words
from latentsync.evaluation.single import write_single_report
from latentsync.evaluation.sync_lines import SyncLine, sync_lines
from latentsync.faces import MeshTracker
from latentsync.faces.shots import ShotDetector
from latentsync.media.audio import read_audio

SAMPLE = Path(latentsync.__file__).parent / "assets" / "sample" / "talk.mp4"


def test_the_whole_sample_is_judged_and_sound_that_is_moved_is_found() -> None:
    wave = read_audio(SAMPLE)
    (line,) = sync_lines(SAMPLE, np.roll(wave, -3200), MeshTracker())
    assert line.late_ms == pytest.approx(200, abs=25) and line.words.startswith("picture late by 2")
    assert line.start_s == 0 and line.end_s == pytest.approx(len(wave) / 16000, abs=0.2)


class TwoFaces(MouthTracker):
    def open(self):  # type: ignore[no-untyped-def]
        session = super().open()
        track = session.track

        def both(frame: Frame) -> tuple[Face, ...]:
            return tuple(replace(face, track_id=number) for face in track(frame) for number in (3, 5))

        session.track = both  # type: ignore[method-assign]
        return session


def test_every_person_of_every_shot_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(_: ShotDetector, frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
        return ((frame, frame.index in (0, 50, 120)) for frame in frames)

    monkeypatch.setattr(ShotDetector, "mark", mark)
    video = write_talker(tmp_path / "talk.mp4", babble(0, 130), 0)
    lines = sync_lines(video, read_audio(video), TwoFaces())
    assert [(line.shot, line.person) for line in lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]  # the third is too short
    assert [line.start_s for line in lines] == [0, 0, 2, 2]


def line(late_ms: float, confidence: float = 0.8) -> SyncLine:
    return SyncLine(1, 1, 0.0, 4.0, late_ms, confidence, confidence)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (line(10), "in time"),
        (line(80), "picture late by 80 ms"),
        (line(-120), "picture early by 120 ms"),
        (line(80, 0.4), "picture late by 80 ms, perhaps"),
        (line(0, 0.1), "the mouth does not follow the sound"),
        (line(float("nan"), float("nan")), "too little speech or face to judge"),
    ],
)
def test_verdicts_in_words(given: SyncLine, words: str) -> None:
    assert given.words == words
    assert ("all along" in headline([given])) == (words == "in time")
    assert headline([]).startswith("There is too little")


def test_words_follow_the_figures() -> None:
    good = picture_words({"sharpness_ratio": 0.95, "leakage": 0.1, "jitter_ratio": 1.0, "border_step": 0.1})
    bad = picture_words({"sharpness_ratio": 0.6, "leakage": 0.5, "jitter_ratio": 2.0, "border_step": 3.0})
    assert len(good) == len(bad) == 4 and not set(good) & set(bad)
    assert "95 %" in good[0] and "softer" in bad[0]
    assert sync_words({"lips_confidence": 0.1}, {"lips_confidence": 0.8}).startswith("Sync score: 0.10 before, 0.80")


def test_the_page_has_the_seed_of_the_run_both_videos_and_no_key_of_ours(tmp_path: Path) -> None:
    video, speech, out = tmp_path / "a b.mp4", tmp_path / "other.mp4", tmp_path / "out.mp4"
    write_talker(video, babble(0), 0)
    write_talker(speech, babble(1), 1)
    perfect_driver(video, speech, out)
    folder = tmp_path / "pages"
    folder.mkdir()
    paths = write_single_report(video, speech, out, folder, MouthTracker(), about={"seed": 1247}, page_folder=folder)
    page = paths["report.html"].read_text()
    assert "<th>seed<td>1247" in page and page.count("<th>seed") == 1
    assert "src='../a%20b.mp4'" in page and "src='../out.mp4'" in page
    assert "Sync score:" in page and "before" in page
    for key in ("leakage_r", "jitter_ratio", "bootstrap", "lips_confidence", "[0."):
        assert key not in page
