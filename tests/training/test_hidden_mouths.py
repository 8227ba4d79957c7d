"""Frames in which a hand hides the mouth: told by the build, never drawn in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from training_clips import talk, write_clip, write_set

from latentsync.cli.main import main
from latentsync.core.errors import LatentSyncError
from latentsync.data.shards import INDEX, _Hashed, _pack
from latentsync.data.stages.write import mouth_covered
from latentsync.media.audio import write_wav
from latentsync.synth.config import SynthConfig
from latentsync.synth.dataset import write_mp4
from latentsync.training.datasets import content_of, long_enough, num_frames, open_data, synthetic
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.features import syncnet_mel_of
from latentsync.training.tasks.autoencoder.task import build as build_autoencoder
from latentsync.training.tasks.syncnet.task import make_task
from latentsync.training.tasks.unet.task import _opened

HIDDEN = slice(60, 72)
"""Frames of a clip of 130 in which a hand passes."""


def shares(num_frames: int = 130, hidden: slice = HIDDEN) -> np.ndarray:
    given = np.zeros(num_frames, np.float32)
    given[hidden] = 0.4
    given[hidden.stop : hidden.stop + 2] = 0.03  # a finger's tip is no matter
    return given


def marked(folder: Path, person: str, split: str, seed: int, given: np.ndarray) -> Path:
    """A prepared clip whose frames of a hidden mouth are white."""
    write_clip(folder, person, split, seed, len(given))
    crops = np.load(folder / "crops.npy")
    crops[given > 0.1] = 255
    np.save(folder / "crops.npy", crops)
    np.savez(folder / "face.npz", mouth_covered=given)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_set(tmp_path / "set", people=2, clips=1, num_frames=60)
    marked(root / "hand", "p0", "train", 99, shares())
    return root


def test_a_clip_becomes_the_pieces_between_with_their_own_sound_and_mesh(root: Path, tmp_path: Path) -> None:
    data = open_data([root], tmp_path / "cache")
    whole = [np.load(root / "hand" / f"{name}.npy") for name in ("crops", "mesh", "wave")]
    pieces = [clip for clip in data.train if clip.path.name.startswith("hand")]
    assert [(clip.path.name, num_frames(clip)) for clip in pieces] == [("hand[0:60]", 60), ("hand[72:130]", 58)]
    for clip, first, after in zip(pieces, (0, 72), (60, 130), strict=True):
        assert np.array_equal(clip.crops, whole[0][first:after])
        assert np.array_equal(clip.mesh, whole[1][first:after])
        assert np.array_equal(clip.wave, whole[2][640 * first : 640 * after])
        assert (clip.person, clip.split, clip.in_sync) == ("p0", "train", True)
    assert len({content_of(clip) for clip in data.train}) == len(data.train) == 4
    assert len(long_enough(data.train, 59)) == 3, "a piece may be too short for a task; that is no error"


def test_what_is_computed_beforehand_is_of_the_pieces(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["data", "features", str(root), "--cache", str(tmp_path / "cache"), "--quiet"])
    assert left.value.code == 0
    made = set((tmp_path / "cache").rglob("*.npy"))
    data = open_data([root], tmp_path / "cache")
    for clip in (*data.train, *data.val):
        syncnet_mel_of(clip, data.cache)
    assert set((tmp_path / "cache").rglob("*.npy")) == made


def test_no_task_draws_a_hidden_mouth(root: Path, tmp_path: Path) -> None:
    data = open_data([root], tmp_path / "cache")
    side: dict[str, Any] = {"block_out_channels": [32, 32, 128]}
    model = {"audio_encoder": {"in_channels": 1, "downsample_factors": [[4, 2], 4, [5, 3]], **side},
             "visual_encoder": {"in_channels": 24, "downsample_factors": [2, 4, [2, 4]], **side}}  # fmt: skip
    network = tmp_path / "net.yaml"
    network.write_text(yaml.safe_dump({"num_frames": 8, "input": "pixel", "resolution": 32, "model": model}))
    sync = make_task({"network": str(network), "loss": "bce", "look": None, "sound": None}, data)
    assert all(sync.example(n)["frames"].max() < 255 for n in range(60))
    plain = {"gain": 0, "tint": 0, "offset": 0}
    small = {"latent_channels": 4, "widths": [8, 8], "encoder_blocks": 1, "decoder_blocks": 1}
    pictures = build_autoencoder({"network": small, "side": 32, "shrunk": 0, "colour": plain}, data)
    assert all(pictures.example(n)["pixels"].min() < 1 for n in range(60))


def test_clips_with_nothing_to_see_are_gone_and_a_set_of_them_is_refused(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", people=1, clips=1, num_frames=40)
    marked(root / "hand", "p0", "train", 3, np.ones(40, np.float32))
    marked(root / "brief", "p0", "train", 4, shares(40, slice(6, 40)))  # six frames are left: of no use
    assert [clip.path.name for clip in open_data([root], tmp_path / "cache").train] == ["p0-0"]
    np.savez(root / "p0-0" / "face.npz", mouth_covered=np.ones(40, np.float32))
    with pytest.raises(LatentSyncError, match="hides the mouth in all of 3 clips"):
        open_data([root], tmp_path / "cache")
    np.savez(root / "p0-0" / "face.npz", mouth_covered=shares(40, slice(20, 22)))
    with pytest.raises(LatentSyncError, match=r"no clip shows the mouth for 32 frames \(1.28 s\) in a row"):
        long_enough(open_data([root], tmp_path / "cache").train, 32)
    np.savez(root / "p0-0" / "face.npz", mouth_covered=np.ones(39, np.float32))
    with pytest.raises(LatentSyncError, match="tells of 39 of 40 frames"):
        open_data([root], tmp_path / "cache")


def test_one_speakers_clips_are_cut_after_some_are_held_out(root: Path) -> None:
    data = _opened([root], alone=True)
    assert {clip.path.name.partition("[")[0] for clip in data.train} & {
        clip.path.name.partition("[")[0] for clip in data.val
    } == set()
    assert any("[" in clip.path.name for clip in (*data.train, *data.val))


def test_shards_tell_it_too(tmp_path: Path) -> None:
    crops, mesh, wave = talk(3, 40)
    given = shares(40, slice(16, 24))
    lines = []
    for split in ("train", "val"):
        folder = tmp_path / "build" / "clips" / split
        folder.mkdir(parents=True)
        write_mp4(folder / "video.mp4", crops, wave, 64, 10)
        write_wav(folder / "audio.wav", wave)
        to_crop = np.tile(np.eye(2, 3, dtype=np.float32), (40, 1, 1))
        np.savez(folder / "face.npz", frame_to_crop=to_crop, landmarks=mesh, mouth_covered=given)
        about = {"id": split, "source_sha256": split, "num_frames": 40, "fps": 25, "mouth_covered": 0.4}
        (folder / "clip.json").write_text(json.dumps(about))
        shard = tmp_path / "shards" / f"{split}-000000.tar"
        shard.parent.mkdir(exist_ok=True)
        with shard.open("wb") as file:
            row = {"clip_id": split, "identity": f"p-{split}", "split": split, "source": "s.mp4", "in_sync": True}
            _pack(tmp_path / "build", [row], _Hashed(file))
        lines.append({"shard": shard.name, "split": split, "clips": 1, "bytes": shard.stat().st_size, "sha256": ""})
    (tmp_path / "shards" / INDEX).write_text(json.dumps({"shards": lines}))
    data = open_data([tmp_path / "shards"], tmp_path / "cache")
    assert [clip.path.name for clip in data.train] == ["train[0:16]", "train[24:40]"]


def test_a_build_takes_it_from_the_truth_beside_a_synthetic_video(tmp_path: Path) -> None:
    video, given = tmp_path / "id00000_000.mp4", shares()
    assert mouth_covered(video, np.arange(3) / 25) is None
    np.savez(tmp_path / "id00000_000.npz", mouth_covered=given)
    assert mouth_covered(video, np.arange(3) / 25) is None, "an .npz alone may be anybody's"
    (tmp_path / "id00000_000.json").write_text("{}")
    found = mouth_covered(video, 2.36 + np.arange(6) / 25)
    assert found is not None and found.tolist() == given[59:65].tolist()
    beyond = mouth_covered(video, (len(given) - 2 + np.arange(4)) / 25)
    assert beyond is not None and beyond.tolist() == [*given[-2:].tolist(), 1, 1], "what is not known counts as hidden"
    assert mouth_covered(video, 99 + np.arange(3) / 25) is None
    np.savez(tmp_path / "id00000_000.npz", landmarks=given)
    assert mouth_covered(video, np.arange(3) / 25) is None


@pytest.mark.slow
def test_rendered_clips_with_a_hidden_mouth_are_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is known before a picture is drawn. The tracker is left out: it has a test of its own."""
    config = SynthConfig(identities=1, seconds=0.4, size=128, seed=2, hand_share=0.7)
    monkeypatch.setattr(synthetic, "follow_face", lambda frames: (frames, np.zeros((len(frames), 468, 2), np.float32)))
    takes = [synthetic._studio(config).clip(0, 1000 * take).truth.mouth_covered.max() for take in range(4)]
    assert takes[0] > 0.05 and min(takes) == 0, "the seed must give a hand first"
    first = next(take for take, most in enumerate(takes) if most <= 0.05)
    wanted = np.stack(list(synthetic._studio(config).clip(0, 1000 * first).frames))
    (clip, *_) = synthetic.synthetic_clips(config, "train", 0, ArrayCache(tmp_path))
    assert np.array_equal(clip.crops, wanted)
