"""Offsets are found by the lips, and corrected exactly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from raw_videos import SETTINGS, late, run, sound_of, talking
from talkers import babble

from latentsync.core.errors import MediaError
from latentsync.data.clip import Clip, Source
from latentsync.data.lip_sync import lip_sync
from latentsync.data.settings import SyncLimits, data_settings
from latentsync.data.shards import write_shards
from latentsync.data.stages.sync import SyncCheck, shifted
from latentsync.media.audio import read_audio
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.clip_files import load_clips
from latentsync.training.datasets.shards import shard_clips


def curve(seed: int, steps: int = 125) -> np.ndarray:
    return babble(seed, steps)


def test_known_offsets_are_recovered_by_the_lips() -> None:
    """21 shifts of 3 talkers each with tracker-like noise on the lips: at least 95 % to the frame."""
    hits = []
    for seed in range(3):
        opening = curve(seed)
        noisy = opening + np.random.default_rng(seed).normal(0, 0.01, len(opening))
        for frames in range(-10, 11):
            wave = np.pad(late(np.pad(sound_of(opening), 16000), frames), 8000)
            found = lip_sync(noisy, wave, np.ones(len(wave), bool), 1.5, 0.6)
            hits.append(round(found.late_s * 25) == frames)
    assert np.mean(hits) >= 0.95


def test_somebody_elses_speech_is_not_in_sync() -> None:
    found = [
        lip_sync(curve(seed), np.pad(sound_of(curve(seed + 50)), 24000), np.ones(128000, bool), 1.5, 0.6).at_zero
        for seed in range(8)
    ]
    own = lip_sync(curve(0), np.pad(sound_of(curve(0)), 24000), np.ones(128000, bool), 1.5, 0.6)
    assert own.at_zero > 0.6
    assert np.median(found) < 0.25


def test_a_still_mouth_says_nothing() -> None:
    found = lip_sync(np.full(125, 0.1), np.pad(sound_of(curve(1)), 24000), np.ones(128000, bool), 1.5, 0.6)
    assert found.confidence < 0.05


@pytest.mark.parametrize("frames", [6, -5])
def test_a_late_sound_is_moved_into_its_place(tmp_path: Path, frames: int) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, late_frames=frames, steps=125)
    talking(tmp_path / "right" / "clip.mp4", 0, seed=3, steps=125)
    long = data_settings(SETTINGS.as_dict(), {"segments.max_s": 6})
    (row,) = run(tmp_path / "raw", tmp_path / "out", long).rows
    assert row["kept"], row
    assert abs(row["sound_shift_s"] - frames / 25) <= 0.02
    assert row["num_frames"] <= 125 - abs(frames) + 2  # the sound coder pads
    wave = read_audio(tmp_path / "out" / "clips" / row["clip_id"] / "audio.wav")
    right = read_audio(tmp_path / "right" / "clip.mp4")[round(row["start_s"] * 16000) :]
    count = min(len(wave), len(right))
    levels = [np.abs(x[: count // 640 * 640]).reshape(-1, 640).mean(axis=1) for x in (wave, right)]
    assert np.corrcoef(*levels)[0, 1] > 0.9


def clip(**scores: float) -> Clip:
    facts = {"sound_start_s": "0", "sound_end_s": "10", "sync_judge": "lips"}
    return Clip(Source("x", "x", "ab"), Fraction(1), 100, "id", facts=facts, scores=scores)


CHECK = SyncCheck(SyncLimits(min_confidence=0.25, correct_above=0.6, margin=0.65), 15, 2.0)


@pytest.mark.parametrize(
    ("best", "at_zero", "late_ms", "reason"),
    [
        (0.2, 0.1, 0, "not_in_sync"),
        (0.5, 0.1, 200, "offset_uncertain"),
        (0.9, 0.1, 600, "offset_at_edge"),
        (0.9, 0.1, 200, None),
        (0.5, 0.45, 200, None),
        (0.95, 0.28, 600, "offset_at_edge"),
    ],
)
def test_verdicts(best: float, at_zero: float, late_ms: float, reason: str | None) -> None:
    found = CHECK.process(clip(sync_confidence=best, confidence_at_zero=at_zero, sound_late_ms=late_ms))
    if reason is None:
        assert isinstance(found, list)
        moved = best - at_zero >= 0.65
        assert found[0].sound_shift_s == (Fraction(1, 5) if moved else 0)
    else:
        assert not isinstance(found, list)
        assert found.reason == reason


@pytest.mark.parametrize(
    ("best", "at_zero", "late_ms", "kept"),
    [(0.2, 0.1, 0, "not_in_sync"), (0.5, 0.1, 200, "offset_uncertain"), (0.9, 0.1, 200, ""), (0.5, 0.45, 200, "")],
)
def test_what_is_out_of_sync_may_be_kept_for_its_looks(best: float, at_zero: float, late_ms: float, kept: str) -> None:
    limits = SyncLimits(min_confidence=0.25, correct_above=0.6, margin=0.65, out_of_sync="keep")
    found = SyncCheck(limits, 15, 2.0).process(
        clip(sync_confidence=best, confidence_at_zero=at_zero, sound_late_ms=late_ms)
    )
    assert isinstance(found, list)
    assert found[0].facts.get("out_of_sync", "") == kept
    assert (found[0].facts.get("in_sync") is False) == bool(kept)
    if kept:
        assert found[0].sound_shift_s == 0


def test_the_list_may_say_that_a_sound_is_another_ones(tmp_path: Path) -> None:
    """Its sound is neither judged nor moved; only what depends on that is done again when the word changes."""
    talking(tmp_path / "own.mp4", 0, seed=3, late_frames=6, steps=125)
    talking(tmp_path / "dubbed.mp4", 1, seed=4, late_frames=6, steps=125)
    settings = data_settings(SETTINGS.as_dict(), {"segments.max_s": 6, "write.training": True, "split.val": 0})
    listed = tmp_path / "list.csv"
    listed.write_text("file,person,in_sync\nown.mp4,ann,yes\ndubbed.mp4,bob,no\n", encoding="utf-8")
    rows = {row["identity"]: row for row in run(listed, tmp_path / "out", settings).rows}
    assert [rows[name]["in_sync"] for name in ("ann", "bob")] == [True, False]
    assert abs(rows["ann"]["sound_shift_s"] - 0.24) <= 0.02
    assert rows["bob"]["sound_shift_s"] == 0
    assert rows["bob"]["sync_judge"] == "list"
    clips = {each.person: each for each in load_clips(tmp_path / "out" / "clips", "train")}
    assert [clips[name].in_sync for name in ("ann", "bob")] == [True, False]
    write_shards(tmp_path / "out", str(tmp_path / "shards"))
    packed = shard_clips(str(tmp_path / "shards"), "train", ArrayCache(tmp_path / "cache"))
    assert {each.person: each.in_sync for each in packed} == {"ann": True, "bob": False}
    listed.write_text("file,person,in_sync\nown.mp4,ann,\ndubbed.mp4,bob,YES\n", encoding="utf-8")
    again = run(listed, tmp_path / "out", settings)
    assert set(again.tally.done) <= {"sync", "sync_check", "quality", "quality_check", "write"}
    assert [row["in_sync"] for row in again.rows] == [True, True]
    listed.write_text("file,in_sync\nown.mp4,perhaps\n", encoding="utf-8")
    with pytest.raises(MediaError, match=r"entry 1 has in_sync 'perhaps'\. Write yes or no"):
        run(listed, tmp_path / "out", settings)


@pytest.mark.parametrize(
    ("late_s", "first", "count"), [(Fraction(0), 0, 100), (Fraction(6), 0, 75), (Fraction(-2), 25, 75)]
)
def test_frames_without_sound_after_the_move_are_left_out(late_s: Fraction, first: int, count: int) -> None:
    moved = shifted(clip(), late_s)
    assert moved.start_s == 1 + Fraction(first, 25)
    assert moved.num_frames == count
    assert moved.clip_id == "id"
