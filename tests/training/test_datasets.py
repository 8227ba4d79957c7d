"""Sources of training clips, their mixture, changes of look and sound, and the cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_clips import talk, write_clip, write_set

from latentsync.cli.main import main
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.data.shards import INDEX, _Hashed, _pack
from latentsync.media.audio import write_wav
from latentsync.models.weights import find, load
from latentsync.synth.dataset import write_mp4
from latentsync.training.datasets import (
    ArrayCache,
    AugmentationRange,
    Mixture,
    SoundRange,
    Source,
    augment,
    change_sound,
    content_of,
    draw_augmentation,
    long_enough,
    num_frames,
    open_data,
)
from latentsync.training.datasets.augment import NO_AUGMENTATION, NO_SOUND_CHANGE, Augmentation
from latentsync.training.datasets.features import small_crops, states_of, syncnet_mel_of
from latentsync.training.datasets.shards import shard_clips
from latentsync.training.engine.task import rng_of


def test_a_folder_gives_its_splits_and_the_people_of_each(tmp_path: Path) -> None:
    data = open_data([write_set(tmp_path / "set")], tmp_path / "cache")
    assert data.train.people == {"p0", "p1", "p2", "p3"}
    assert data.val.people == {"p4", "p5"}
    assert (len(data.train), len(data.val)) == (8, 4)


@pytest.mark.parametrize("spoil", ["missing", "empty", "no_val", "both", "rate", "sound"])
def test_what_cannot_be_trained_on_is_refused_before_any_work(tmp_path: Path, spoil: str) -> None:
    root = write_set(tmp_path / "set", people=2, clips=1)
    said = {"missing": "no such folder", "empty": "no clips for training", "no_val": "no clips of people to be judged",
            "both": "is in split train and in val", "rate": "prepared at 30 frames", "sound": "its sound"}[
                spoil]  # fmt: skip
    meta = root / "p3-0" / "meta.json"
    described = json.loads(meta.read_text())
    if spoil == "missing":
        root = tmp_path / "nowhere"
    elif spoil == "empty":
        for clip in root.iterdir():
            shutil.rmtree(clip)
    elif spoil == "no_val":
        for name in ("p2-0", "p3-0"):
            shutil.rmtree(root / name)
    elif spoil == "both":
        meta.write_text(json.dumps({**described, "person": "p0"}))
    elif spoil == "rate":
        meta.write_text(json.dumps({**described, "fps": 30}))
    else:
        np.save(root / "p3-0" / "wave.npy", np.zeros(16000 * 2, np.float32))
    with pytest.raises(LatentSyncError, match=said):
        open_data([root], tmp_path / "cache")


def test_short_clips_are_counted_and_may_be_left_out(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", people=2, clips=1)
    write_clip(root / "short", "p0", "train", 99, num_frames=20)
    train = open_data([root], tmp_path / "cache").train
    with pytest.raises(LatentSyncError, match=r"1 of 3 clips are too short: 32 frames \(1.28 s\).* short has 20"):
        long_enough(train, 32)
    assert len(long_enough(train, 32, leave_out_short=True)) == 2
    with pytest.raises(LatentSyncError, match="3 of 3 clips"):
        long_enough(train, 500, leave_out_short=True)


def test_unknown_keys_of_a_source_are_refused(tmp_path: Path) -> None:
    for given, key in (({"path": "x", "weight": 2}, "data.weight"), ({"path": "x", "ratio": 0}, "data.ratio"),
                       ({"synth": {"people": 3}}, "data.synth.people"), ({"ratio": 1}, "data=")):  # fmt: skip
        with pytest.raises(ConfigError, match=key):
            open_data([given], tmp_path)


def test_people_are_drawn_evenly_and_sources_by_their_ratio(tmp_path: Path) -> None:
    many = [write_clip(tmp_path / "a" / f"m{k}", "many", "train", k, 20) for k in range(6)]
    one = write_clip(tmp_path / "a" / "o", "one", "train", 7, 20)
    other = write_clip(tmp_path / "b" / "c", "other", "train", 8, 20)
    for root in ("a", "b"):
        write_clip(tmp_path / root / "v", f"v{root}", "val", 9, 20)
    data = open_data([{"path": tmp_path / "a", "ratio": 3}, {"path": tmp_path / "b", "ratio": 1}], tmp_path / "cache")
    drawn = [data.train.draw(rng_of(0, number)).path for number in range(2000)]
    shares = [np.mean([path == each for path in drawn]) for each in (other, one, many[0])]
    assert shares == pytest.approx([0.25, 0.375, 0.0625], abs=0.035)
    assert drawn[:50] == [data.train.draw(rng_of(0, number)).path for number in range(50)]


def test_a_list_of_sources_may_stand_in_a_file(tmp_path: Path) -> None:
    write_set(tmp_path / "a", people=2, clips=1)
    write_clip(tmp_path / "b" / "c", "other", "train", 8, 20)
    (tmp_path / "mix.yaml").write_text("sources:\n- a\n- {path: b, ratio: 3, name: more}\n")
    data = open_data([tmp_path / "mix.yaml"], tmp_path / "cache")
    assert [(source.name, source.ratio) for source in data.train.sources] == [("a", 1.0), ("more", 3.0)]
    assert data.fingerprint != open_data([tmp_path / "a"], tmp_path / "cache").fingerprint
    (tmp_path / "mix.yaml").write_text("a: 3\n")
    with pytest.raises(ConfigError, match="sources:"):
        open_data([tmp_path / "mix.yaml"], tmp_path / "cache")


def test_shards_give_the_same_clips_as_they_were_packed_from(tmp_path: Path) -> None:
    crops, mesh, wave = talk(3, 30)
    for split, clip_id in (("train", "a" * 16), ("val", "b" * 16)):
        folder = tmp_path / "build" / "clips" / clip_id
        folder.mkdir(parents=True)
        write_mp4(folder / "video.mp4", crops, wave, 64, 10)
        write_wav(folder / "audio.wav", wave)
        to_crop = np.tile(np.array([[0.5, 0, 1], [0, 0.5, 2]], np.float32), (30, 1, 1))
        np.savez(folder / "face.npz", frame_to_crop=to_crop, landmarks=(mesh - [1, 2]) * 2)
        about = {"id": clip_id, "source_sha256": clip_id, "num_frames": 30, "fps": 25, "sound_shift_s": "0"}
        (folder / "clip.json").write_text(json.dumps(about))
        (tmp_path / "shards").mkdir(exist_ok=True)
        name = tmp_path / "shards" / f"{split}-000000.tar"
        with name.open("wb") as file:
            row = {"clip_id": clip_id, "identity": f"p-{split}", "split": split, "source": "s.mp4", "in_sync": True}
            _pack(tmp_path / "build", [row], _Hashed(file))
    lines = [{"shard": p.name, "split": p.name.split("-")[0], "clips": 1, "bytes": p.stat().st_size, "sha256": ""}
             for p in (tmp_path / "shards").glob("*.tar")]  # fmt: skip
    (tmp_path / "shards" / INDEX).write_text(json.dumps({"shards": lines}))
    data = open_data([tmp_path / "shards"], tmp_path / "cache")
    (clip,) = data.train
    assert (clip.person, clip.split, num_frames(clip)) == ("p-train", "train", 30)
    assert np.abs(clip.crops.astype(int) - crops).mean() < 4  # chroma of half size at the mouth's edge
    assert np.allclose(clip.mesh, mesh, atol=1e-3)
    assert np.abs(clip.wave[:19000] - wave[:19000]).max() < 2e-4
    assert content_of(clip) != content_of(next(iter(data.val)))
    with pytest.raises(LatentSyncError, match="no shard of split 'test'"):
        shard_clips(str(tmp_path / "shards"), "test", data.cache)
    (tmp_path / "shards" / "train-000000.tar").write_bytes(b"short")
    with pytest.raises(LatentSyncError, match="5 bytes"):
        open_data([tmp_path / "shards"], tmp_path / "cache")


@pytest.mark.slow
def test_synthetic_heads_are_rendered_once_and_the_same_each_time(tmp_path: Path) -> None:
    described = {"identities": 2, "val_identities": 1, "seconds": 0.4, "size": 256, "seed": 5, "max_turn_deg": 10}
    data = open_data([{"synth": described}], tmp_path / "one")
    assert data.train.people != data.val.people
    (clip,) = data.train
    assert clip.crops.shape == (10, 256, 256, 3)
    assert len(clip.wave) == 6400
    (again,) = open_data([{"synth": described}], tmp_path / "two").train
    assert np.array_equal(clip.crops, again.crops)
    assert np.array_equal(clip.mesh, again.mesh)
    (kept,) = open_data([{"synth": described}], tmp_path / "one").train
    assert isinstance(kept.crops, np.memmap)


def test_the_cache_goes_by_content_never_by_name(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "cache")
    for folder, seed in (("a", 1), ("b", 2)):
        write_clip(tmp_path / folder / "same", folder, "train", seed, 20)
    write_clip(tmp_path / "c" / "other", "a", "train", 1, 20)
    (one, two, copy) = (next(iter(_all(tmp_path / folder))) for folder in ("a", "b", "c"))
    assert content_of(one) == content_of(copy) != content_of(two)
    assert not np.array_equal(syncnet_mel_of(one, cache), syncnet_mel_of(two, cache))
    small_crops(one, 32, cache)
    stored = sorted((tmp_path / "cache").rglob("*.npy"))
    small_crops(copy, 32, cache)
    syncnet_mel_of(copy, cache)
    assert sorted((tmp_path / "cache").rglob("*.npy")) == stored
    changed = one.wave + 0.01
    np.save(one.path / "wave.npy", changed)
    (anew,) = _all(tmp_path / "a")
    assert not np.array_equal(syncnet_mel_of(anew, cache), syncnet_mel_of(copy, cache))


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.get("kind", ("k",), lambda: np.arange(4))
    cache.place("kind", "k").write_bytes(b"broken")
    assert cache.get("kind", ("k",), lambda: np.arange(5)).tolist() == [0, 1, 2, 3, 4]


def _all(root: Path) -> Mixture:
    from latentsync.training.datasets.folder import folder_clips

    return Mixture((Source("s", tuple(folder_clips(root, "train"))),))


def test_a_look_is_the_same_for_all_frames_and_nothing_where_nothing_is_asked() -> None:
    frames = np.repeat(talk(0, 1)[0], 3, axis=0)
    drawn = augment(frames, draw_augmentation(rng_of(0, 1), AugmentationRange(blur_px=2, jpeg=1)))
    assert drawn.shape == frames.shape
    assert not np.array_equal(drawn, frames)
    assert np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(augment(frames, draw_augmentation(rng_of(0, 1), NO_AUGMENTATION)), frames)
    assert np.array_equal(augment(frames, Augmentation(), lower_half=True), frames[:, 32:])


def test_a_tint_is_half_of_the_gain_or_what_is_asked_for() -> None:
    def gains(limits: AugmentationRange) -> np.ndarray:
        return np.array([draw_augmentation(rng_of(0, number), limits).gains for number in range(200)])

    usual, none, strong = (gains(AugmentationRange(gain=0.3, tint=tint)) for tint in (None, 0.0, 0.3))
    assert np.array_equal(usual, gains(AugmentationRange(gain=0.3, tint=0.15)))
    assert np.ptp(none, axis=1).max() == 0
    brightness = none[:, :1]
    assert np.abs(strong / brightness - 1).max() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(strong / brightness - 1, 2 * (usual / brightness - 1), atol=1e-9)


def test_the_lower_half_of_a_moved_picture_is_cut_after_it_moved() -> None:
    frames = talk(0, 2)[0]
    look = Augmentation(scale=1.05, rotation_deg=6, shift=(0.05, -0.08), flip=True)
    assert np.abs(augment(frames, look)[:, 32:].astype(int) - augment(frames, look, lower_half=True)).max() <= 1


def test_a_distortion_is_smooth_small_and_the_same_for_all_frames() -> None:
    y, x = np.mgrid[:64, :64].astype(np.float32)
    frames = np.stack([np.stack([4 * x, 4 * y, 0 * x], axis=-1).astype(np.uint8)] * 2)  # tells where a pixel was
    plain = Augmentation(scale=1.05, shift=(0.02, 0.0))
    assert (
        np.abs(plain.sources(64) - Augmentation(scale=1.05, shift=(0.02, 0.0), warp=(0.0,) * 32).sources(64)).max() == 0
    )
    limits = AugmentationRange(gain=0, gamma=0, blur_px=0, jpeg=0, scale=0, rotation_deg=0, shift=0, flip=0, warp=0.02)
    out = augment(frames, draw_augmentation(rng_of(0, 3), limits)).astype(np.float32)
    assert np.array_equal(out[0], out[1])
    moved = (out[0, 8:-8, 8:-8, :2] - frames[0, 8:-8, 8:-8, :2].astype(np.float32)) / 4
    assert 0.3 < float(np.abs(moved).mean()) < 4
    assert float(np.abs(np.diff(moved, axis=0)).max()) < 1.5
    lower = augment(frames, draw_augmentation(rng_of(0, 3), limits), lower_half=True)
    assert np.array_equal(lower, out[:, 32:].astype(np.uint8))
    same = (
        draw_augmentation(rng_of(0, 3), AugmentationRange(flip=1)),
        draw_augmentation(rng_of(0, 3), AugmentationRange(flip=1, warp=0.02)),
    )
    assert same[0] == replace(same[1], warp=())


def test_the_affine_of_a_look_tells_where_points_go() -> None:
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, 19:22, 39:42] = 255
    look = Augmentation(rotation_deg=10, shift=(0.1, 0.0), scale=1.1, flip=True)
    y, x = np.argwhere(augment(frame, look)[0, :, :, 0] > 128).mean(axis=0)
    assert look.affine(64) @ [40, 20, 1] == pytest.approx([x, y], abs=0.5)
    assert Augmentation(flip=True).affine(64) @ [0, 5, 1] == pytest.approx([63, 5])


def test_changes_of_sound_move_nothing_in_time() -> None:
    wave = np.zeros(8000, np.float32)
    wave[3000:3040] = 0.3 * np.hanning(40)
    for number in range(5):
        changed = change_sound(wave, rng_of(1, number), SoundRange(gain_db=12, noise=0, tilt_db=6))
        assert changed.shape == wave.shape
        assert np.argmax(np.convolve(np.abs(changed), np.ones(21), "same")) == pytest.approx(3020, abs=6)
    assert np.array_equal(change_sound(wave, rng_of(1, 0), NO_SOUND_CHANGE), wave)
    noisy = change_sound(wave, rng_of(1, 0), SoundRange(noise=1, least_snr_db=8))
    assert noisy[:2000].std() > 1e-5


def test_what_is_computed_beforehand_is_what_training_finds(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", people=1, clips=1)
    with pytest.raises(SystemExit) as left:
        main(["data", "features", str(root), "--model", "tiny", "--cache", str(tmp_path / "cache"), "--quiet"])
    assert left.value.code == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert {path.relative_to(tmp_path / "cache").parts[0] for path in made} == {"mel-syncnet", "states"}
    located = find("tiny", complete=True)
    cache = ArrayCache(tmp_path / "cache")
    for clip in open_data([root], tmp_path / "cache").train.sources[0].clips:
        states = states_of(clip, load(located, "audio_encoder"), located.settings["trailing_silence_s"], cache)
        assert states.dtype == np.float16
        assert len(states) >= 2 * len(clip.crops)
        syncnet_mel_of(clip, cache)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == made
