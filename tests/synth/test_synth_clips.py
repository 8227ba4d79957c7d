"""The built-in head, clips in memory, sets on disk."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

pytest.importorskip("numba", reason="the synth extra is not installed")

from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.core.progress import Progress
from latentsync.metrics.lips import lagged_correlation
from latentsync.synth import checks, dataset
from latentsync.synth.config import SynthConfig
from latentsync.synth.dataset import render_dataset
from latentsync.synth.face.builtin import builtin_head
from latentsync.synth.face.model import load_face_model
from latentsync.synth.speech.phones import Phone
from latentsync.synth.speech.speaker import Speech
from latentsync.synth.studio import Studio
from latentsync.synth.truth import Truth

CONFIG = SynthConfig(seconds=1.2, size=96, seed=4, face_share=(0.7, 0.75), max_turn_deg=20)


def babble(seconds: float) -> Speech:
    """a-b-a-b…: a 150 Hz buzz in the vowels, silence in the closures."""
    phones, t = [], 0.12
    while t + 0.3 < seconds:
        phones += [Phone("aa", t, t + 0.2), Phone("b", t + 0.2, t + 0.28)]
        t += 0.28
    s = np.arange(round(seconds * 16000)) / 16000
    loud = np.zeros(len(s))
    for p in phones:
        if p.name == "aa":
            loud = np.maximum(loud, np.sin(np.clip((s - p.start_s) / 0.2, 0, 1) * np.pi))
    audio = (0.4 * loud * np.sign(np.sin(2 * np.pi * 150 * s))).astype(np.float32)
    return Speech(audio, tuple(phones), "babble", "ababab")


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(CONFIG)


def test_the_built_in_head_is_symmetric_and_opens_its_mouth() -> None:
    head = builtin_head()
    left, right = head.base[head.landmarks[[36, 48, 31]]], head.base[head.landmarks[[45, 54, 35]]]
    assert np.allclose(left * [-1, 1, 1], right, atol=0.25)
    still, open_ = head.express(head.base, {}), head.express(head.base, {"jawOpen": 0.5})
    shut = head.express(head.base, {"jawOpen": 0.5, "mouthClose": 0.5})
    gap = [np.linalg.norm(v[head.landmarks[62]] - v[head.landmarks[66]]) for v in (still, open_, shut)]
    assert gap[0] < 0.01 < 1.5 < gap[1] and gap[2] < 0.15
    assert np.abs(head.normals(head.base)[head.landmarks[30]] - [0, 0, 1]).max() < 0.6, "the nose points forward"


def test_two_studios_give_the_same_pictures_and_other_clips_differ(studio: Studio) -> None:
    again = Studio(CONFIG)
    first, second = (list(s.clip(1, 0, babble(1.2)).frames) for s in (studio, again))
    other = next(studio.clip(1, 1, babble(1.2)).frames)
    assert len(first) == 30 and first[0].shape == (96, 96, 3) and first[0].dtype == np.uint8
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.abs(first[0].astype(int) - other).mean() > 5


def test_the_truth_of_the_mouth_follows_the_sound_without_delay(studio: Studio) -> None:
    clip = studio.clip(0, 0, babble(1.2))
    truth = clip.truth
    loud = np.sqrt([(clip.audio[max(i * 640 - 480, 0) : i * 640 + 480] ** 2).mean() for i in range(30)])
    assert abs(lagged_correlation(truth.lip_gap_cm, loud, 5).best_lag) <= 1
    late = checks.shift_audio(clip.audio, 3)
    loud_late = np.sqrt([(late[max(i * 640 - 480, 0) : i * 640 + 480] ** 2).mean() for i in range(30)])
    assert lagged_correlation(loud_late, loud, 5).best_lag == 3
    rate, num = checks.closure_rate(truth.lip_gap_cm, truth.phones)
    assert num == 3 and rate == 1.0


def test_pixels_show_what_the_truth_says(studio: Studio) -> None:
    """Inside the lips it is darker than on the skin, and nowhere does the background show."""
    clip = studio.clip(2, 0, babble(1.2))
    inside, gap = [], []
    for picture, points in zip(clip.frames, clip.truth.landmarks, strict=True):
        polygon = np.zeros((192, 192), np.uint8)
        cv2.fillPoly(polygon, [np.round((points[60:68] + 0.5) * 2 - 0.5).astype(np.int32)], 1)
        assert not ((studio.canvas.index < 0) & (polygon > 0)).any(), "the background shows in the mouth"
        x, y = points[[62, 66]].mean(0)
        around = points[33] + (points[51] - points[33]) * 0.4
        inside.append(
            float(picture[round(y), round(x)].mean()) - float(picture[round(around[1]), round(around[0])].mean())
        )
        gap.append(np.linalg.norm(points[62] - points[66]))
    inside_, gap_ = np.array(inside), np.array(gap)
    assert inside_[gap_ > np.percentile(gap_, 80)].mean() < inside_[gap_ < np.percentile(gap_, 30)].mean() - 5


def test_a_set_on_disk_is_whole_repeatable_and_in_sync(tmp_path: Path) -> None:
    config = replace(CONFIG, seconds=0.8, engines=("espeak",))
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed")
    manifests = [render_dataset(tmp_path / name, config) for name in "ab"]
    rows = [json.loads(line) for line in manifests[0].read_text().splitlines()]
    assert manifests[0].read_bytes() == manifests[1].read_bytes(), "same seed, same files"
    assert [r["id"] for r in rows] == ["id00000_000"] and rows[0]["frames"] == 20
    stem = manifests[0].parent / "id00000_000"
    with av.open(str(stem.with_suffix(".mp4"))) as file:
        frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
    with av.open(str(stem.with_suffix(".mp4"))) as file:
        heard = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0) if f.pts is not None and f.pts >= 0])
    with av.open(str(stem.with_suffix(".wav"))) as file:
        exact = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)]) / 32768
    assert len(frames) == 20 and len(exact) == 12800
    n = min(len(heard), len(exact)) - 100
    match = [float((heard[50 + k : n + k] * exact[50:n]).sum()) for k in range(-50, 51)]
    assert abs(int(np.argmax(match)) - 50) <= 1, "the sound in the mp4 is where the wav has it"
    truth = Truth.load(stem)
    assert truth.landmarks.shape == (20, 68, 2) and truth.shapes.shape == (20, len(truth.shape_names))
    before = stem.with_suffix(".mp4").stat().st_mtime_ns
    with pytest.raises(ConfigError, match="other seed"):
        render_dataset(stem.parent, replace(config, seed=9))
    assert stem.with_suffix(".mp4").stat().st_mtime_ns == before


@pytest.mark.slow
def test_two_workers_write_the_same_set_and_a_dead_worker_ends_the_run(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed")
    config = replace(CONFIG, identities=2, seconds=0.4, size=64, engines=("espeak",))

    def kill_workers(_: Progress) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    one = render_dataset(tmp_path / "one", config)
    with pytest.raises(LatentSyncError, match="Run again to go on"):
        render_dataset(tmp_path / "two", replace(config, identities=6), workers=2, progress=kill_workers)
    assert not (tmp_path / "two" / "manifest.jsonl").exists()
    two = render_dataset(tmp_path / "two", config, workers=2)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("bad", [{"seconds": 0.5001}, {"size": 97}, {"identities": 0}, {"face_share": (0.9, 0.5)}])
def test_impossible_settings_are_refused(bad: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        SynthConfig(**bad)


def test_a_file_that_is_no_face_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    with pytest.raises(WeightsError, match="no such face model"):
        load_face_model(path)
    np.savez(path, base=np.zeros((3, 3)))
    with pytest.raises(WeightsError, match="not a packed face model"):
        load_face_model(path)


def test_mismatched_sounds_are_never_ones_own() -> None:
    for num in (2, 3, 9):
        order = checks.mismatched(num, np.random.default_rng(num))
        assert sorted(order) == list(range(num)) and all(i != k for i, k in enumerate(order))


@pytest.mark.parametrize("missing", ["scipy", "numba"])
def test_without_the_extra_nothing_is_written(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ConfigError, match=r"install the extra first: pip install 'latentsync\[synth\]'"):
        dataset.render_dataset(tmp_path / "set", SynthConfig())
    assert not (tmp_path / "set").exists()


def test_the_sample_of_the_docs_runs_also_after_the_module_was_imported() -> None:
    from latentsync.synth import clips, studio

    assert studio.clips is clips
    for frames, audio, truth in clips(identities=1, clips_per_identity=1, seconds=0.4, size=64, seed=0):
        assert frames.shape == (10, 64, 64, 3)
        assert audio.shape == (6400,)
        assert truth.voice


def test_a_folder_without_recordings_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        SynthConfig(recordings=tmp_path / "nothere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="recordings"):
        render_dataset(tmp_path / "set", SynthConfig(seconds=0.4, size=64, recordings=tmp_path / "empty"))
    assert not (tmp_path / "set").exists()
