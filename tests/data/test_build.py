"""The whole pipeline on drawn talkers, good and bad, in this process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_videos import SETTINGS, contents, empty_room, run, sound_file, talking

from latentsync.core.errors import ConfigError, LatentSyncError, MediaError
from latentsync.data.api import build, resplit, run_stages
from latentsync.data.clip import Clip, Rejected
from latentsync.data.manifest import read_manifest
from latentsync.data.settings import SplitSettings, data_settings
from latentsync.data.stages import make_stages
from latentsync.data.stages.base import PlainStage
from latentsync.media.audio import read_audio
from latentsync.media.reader import VideoReader
from latentsync.training.datasets.clip_files import load_clips
from synth_media import make_film, tone, truncate


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with everything that people have in theirs."""
    root = tmp_path_factory.mktemp("raw videos")
    for person in range(3):
        talking(root / f"person {person}" / "clip.mp4", person, seed=person)
    talking(root / "Zoë" / "déjà vu 你好.mp4", 3, seed=8)
    shutil.copy(root / "person 0" / "clip.mp4", root / "person 1" / "the same again.mp4")
    empty_room(root / "person 2" / "nobody.mp4")
    make_film(root / "mute.mp4", 50)
    make_film(root / "no speech.mp4", 50, sound=0 * tone(2.0))
    truncate(make_film(root / "cut off.mp4", 50, sound=tone(2.0)), 0.4)
    sound_file(root / "only sound.wav")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("this is no video")
    (root / "notes.txt").write_text("not an input")
    talking(root / "short.mp4", 4, seed=11, steps=30)
    return root


@pytest.fixture(scope="module")
def built(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    run(raw, out, data_settings(SETTINGS.as_dict(), {"write.training": True, "write.mel": True}))
    return out


def test_every_input_has_a_line_and_those_left_out_a_reason(raw: Path, built: Path) -> None:
    rows, _ = read_manifest(built)
    reasons = {row["source"]: (row["stage"], row["reason"]) for row in rows}
    assert reasons == {
        "person 0/clip.mp4": ("", ""),
        "person 1/clip.mp4": ("", ""),
        "person 2/clip.mp4": ("", ""),
        "Zoë/déjà vu 你好.mp4": ("", ""),
        "person 1/the same again.mp4": ("probe", "duplicate"),
        "person 2/nobody.mp4": ("faces", "no_face"),
        "mute.mp4": ("probe", "no_sound"),
        "no speech.mp4": ("probe", "silent"),
        "cut off.mp4": ("probe", "unreadable"),
        "only sound.wav": ("probe", "no_video"),
        "empty.mp4": ("probe", "unreadable"),
        "text.mp4": ("probe", "unreadable"),
        "short.mp4": ("segments", "too_short"),
    }
    short = next(row for row in rows if row["source"] == "short.mp4")
    assert (short["value"], short["limit"]) == (1.2, 1.5)


def test_inputs_are_not_touched(raw: Path, built: Path) -> None:
    assert (raw / "notes.txt").read_text() == "not an input"
    assert len(list(raw.rglob("*.*"))) == 14


def test_a_kept_clip_is_whole(built: Path) -> None:
    rows, _ = read_manifest(built)
    row = next(row for row in rows if row["source"] == "person 0/clip.mp4")
    folder = built / "clips" / row["clip_id"]
    with VideoReader(folder / "video.mp4") as reader:
        crops = [frame.picture.rgb() for frame in reader]
    assert len(crops) == row["num_frames"] >= 58  # the sound's coder may end within the last frames
    assert crops[0].shape == (128, 128, 3)
    assert len(read_audio(folder / "audio.wav")) == row["num_frames"] * 640
    with np.load(folder / "face.npz") as geometry:
        assert geometry["landmarks"].shape == (row["num_frames"], 468, 2)
        assert np.allclose(np.diff(geometry["source_time_s"]), 0.04)
    about = json.loads((folder / "clip.json").read_text())
    assert about["id"] == row["clip_id"]
    assert np.load(folder / "mel.npy").shape[0] == 80


def test_sound_and_picture_of_a_clip_are_those_of_the_source(raw: Path, built: Path) -> None:
    row = next(row for row in read_manifest(built)[0] if row["source"] == "person 0/clip.mp4")
    wave = read_audio(built / "clips" / row["clip_id"] / "audio.wav")
    source = read_audio(raw / row["source"])[: len(wave)]
    assert np.abs(wave[: len(source)] - source).max() < 2 / 32767  # 16 bits


def test_training_reads_the_clips(built: Path) -> None:
    clips = load_clips(built / "clips", "train") + load_clips(built / "clips", "val")
    assert {clip.person for clip in clips} == {"person 0", "person 1", "person 2", "Zoë"}
    for clip in clips:
        assert clip.crops.dtype == np.uint8
        assert len(clip.crops) == len(clip.mesh) == len(clip.wave) // 640
        assert abs(float(clip.mesh[:, 33, 0].mean()) - float(clip.mesh[:, 263, 0].mean())) > 20  # crop pixels


def test_a_second_run_does_nothing_again(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = run(raw, tmp_path / "out")
    assert not again.tally.done
    assert contents(tmp_path / "out") == before
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_a_changed_setting_redoes_what_depends_on_it(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path / "out")
    stricter = data_settings(SETTINGS.as_dict(), {"quality_limits.min_quality": 99.9})
    strict = run(raw, tmp_path / "out", stricter)
    assert set(strict.tally.done) == {"quality_check"}
    assert strict.num_kept == 0
    assert not list((tmp_path / "out" / "clips").iterdir())
    back = run(raw, tmp_path / "out")
    assert set(back.tally.done) == {"write"}
    assert back.num_kept == 4


def test_another_truth_beside_a_synthetic_video_writes_its_clip_anew(tmp_path: Path) -> None:
    video = talking(tmp_path / "raw" / "id00000_000.mp4", 0, seed=1)
    (before,) = run(tmp_path / "raw", tmp_path / "out").rows
    video.with_suffix(".json").write_text("{}")
    for share in (0.0, 0.5):
        np.savez(video.with_suffix(".npz"), mouth_covered=np.full(60, share, np.float32))
        result = run(tmp_path / "raw", tmp_path / "out")
        assert set(result.tally.done) == {"write"}
        folder = tmp_path / "out" / "clips" / before["clip_id"]
        assert np.load(folder / "face.npz")["mouth_covered"].max() == np.float32(share)
    assert not run(tmp_path / "raw", tmp_path / "out").tally.done


def test_inputs_may_move(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "person 0", tmp_path / "here" / "person 0")
    run(tmp_path / "here", tmp_path / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    assert not run(tmp_path / "there", tmp_path / "out").tally.done


def test_no_identity_is_in_two_parts_and_splitting_anew_keeps_the_clips(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    rows = resplit(out, SplitSettings(val=0.25, test=0.25, seed=3), {"Zoë": "test"})
    parts: dict[str, set[str]] = {}
    for row in rows:
        if row["kept"]:
            parts.setdefault(row["identity"], set()).add(row["split"])
    assert all(len(part) == 1 for part in parts.values())
    assert parts["Zoë"] == {"test"}
    assert [clip.person for clip in load_clips(out / "clips", "test") if clip.person == "Zoë"]


def test_an_output_folder_that_is_not_ours_is_left_alone(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("two years of work")
    with pytest.raises(LatentSyncError, match="not empty"):
        run(raw, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_nothing_to_do_says_so(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MediaError, match="no videos in it"):
        run(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(MediaError, match="no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")


def test_the_output_may_not_hold_the_inputs(tmp_path: Path) -> None:
    talking(tmp_path / "a" / "clip.mp4", 0, seed=1)
    with pytest.raises(LatentSyncError, match="holds inputs"):
        run(tmp_path / "a", tmp_path)


def test_a_build_among_its_inputs_goes_on(tmp_path: Path) -> None:
    talking(tmp_path / "a" / "clip.mp4", 0, seed=1)
    first = run(tmp_path / "a", tmp_path / "a" / "out")
    again = run(tmp_path / "a", tmp_path / "a" / "out")
    assert first.num_kept == again.num_kept == 1
    assert [row["source"] for row in again.rows] == ["clip.mp4"]
    with pytest.raises(LatentSyncError, match="holds inputs"):
        run(tmp_path / "a" / "out", tmp_path / "a" / "out")


def test_only_people_with_kept_clips_are_dealt(tmp_path: Path) -> None:
    for person in range(3):
        talking(tmp_path / "raw" / f"p{person}" / "clip.mp4", person, seed=person)
    talking(tmp_path / "raw" / "nobody" / "short.mp4", 4, seed=11, steps=30)
    run(tmp_path / "raw", tmp_path / "out")
    for seed in range(6):  # whoever is forced into a part that chance leaves empty has a clip
        rows = resplit(tmp_path / "out", SplitSettings(val=0.01, test=0, seed=seed))
        assert sorted(row["split"] for row in rows) == ["", "train", "train", "val"]
    talking(tmp_path / "none" / "short.mp4", 4, seed=11, steps=30)
    run(tmp_path / "none", tmp_path / "empty")
    with pytest.raises(LatentSyncError, match="no clip of it was kept"):
        resplit(tmp_path / "empty", SplitSettings())


class Long(PlainStage):
    name = "long"

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        return [clip] if clip.duration_s >= 2 else self.no("short", clip.duration_s, 2)


def test_some_stages_alone_and_ones_own_from_python(tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "long.mp4", 0, seed=1)
    talking(tmp_path / "raw" / "short.mp4", 1, seed=2, steps=45)
    (tmp_path / "raw" / "text.mp4").write_text("this is no video")
    stages = make_stages(SETTINGS)
    clips = run_stages(tmp_path / "raw", tmp_path / "out", stages[:4])
    assert {clip.source.name: clip.rejected and clip.rejected.reason for clip in clips} == {
        "long.mp4": None, "short.mp4": None, "text.mp4": "unreadable",
    }  # fmt: skip
    assert all("shot_finder" in clip.facts for clip in clips if clip.rejected is None)
    found = {clip.source.name: clip for clip in run_stages(tmp_path / "raw", tmp_path / "out", [*stages[:4], Long()])}
    assert found["long.mp4"].rejected is None
    assert found["short.mp4"].rejected == Rejected("long", "short", found["short.mp4"].duration_s, 2)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_without_the_extra_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"install the extra first: pip install 'latentsync\[data\]'"):
        build(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
