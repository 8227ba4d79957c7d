"""Judges from files: small real networks, random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from talkers import MouthTracker, babble, sound_of, write_talker

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.evaluation import networks
from latentsync.evaluation.watching import watch
from latentsync.models.syncnet import SyncNet

MODEL = {
    "audio_encoder": {
        "in_channels": 1, "block_out_channels": [32, 32, 32], "downsample_factors": [[4, 4], 4, [5, 4]],
    },
    "visual_encoder": {"in_channels": 48, "block_out_channels": [32, 32], "downsample_factors": [[4, 8], 8]},
}  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_talker(tmp_path / "talk.mp4", babble(0, 40), 0)


def test_a_syncnet_folder_becomes_a_judge(video: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SyncNet.from_config(MODEL)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(network.to_mapping() | {"resolution": 64}))
    judges = networks.load_judges(own=tmp_path)
    assert judges.own is not None and judges.names[0].startswith(f"own SyncNet: {tmp_path.name} (")
    watched = watch(video, MouthTracker(), 64)
    found = judges.own(watched, video, sound_of(babble(0, 40)))
    assert found is not None
    assert found.num_windows == 25 and len(found.curve) == 21 and np.isfinite(found.curve).all()
    other = judges.own(watched, video, sound_of(babble(1, 40)))
    assert other is not None and other.curve != found.curve
    assert judges.own(watched.cut(20), video, sound_of(babble(0, 20))) is None  # too short to search


def test_wrong_judges_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json"):
        networks.load_judges(own=tmp_path)
    with pytest.raises(ConfigError, match="pixels"):
        networks.load_own(tmp_path / "x.pt", "16_latent")
    with pytest.raises(WeightsError, match="no such file"):
        networks.feature_network(tmp_path / "i3d.pt")
    (tmp_path / "i3d.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="TorchScript"):
        networks.feature_network(tmp_path / "i3d.pt")


def test_v2_crops_follow_the_published_box(video: Path) -> None:
    watched = watch(video, MouthTracker(), 64)
    crops = networks.v2_crops(video, watched, side_px=64)
    assert crops.shape == (40, 64, 64, 3) and crops.dtype == np.uint8
    middle = crops[20, 8:16, 28:36].reshape(-1, 3).mean(axis=0)
    assert middle[2] > middle[0] + 15  # blue first: skin is reddest
    assert (crops[20, -1] == networks.OUTSIDE_GREY).all()  # the box reaches below the picture


class Maps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, torch.nn.functional.avg_pool2d(x, 2)]


def test_torchscript_files_give_features_and_distances(tmp_path: Path) -> None:
    torch.jit.script(Maps()).save(str(tmp_path / "maps.pt"))
    distance = networks.perceptual_judge(tmp_path / "maps.pt")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    region = np.ones((16, 16), np.float32)
    assert distance(a, a, region) == 0
    assert distance(a, 255 - a, region) > 0.1
    torch.jit.script(torch.nn.AdaptiveAvgPool2d(1)).save(str(tmp_path / "mean.pt"))
    network = networks.feature_network(tmp_path / "mean.pt")
    batch = rng.uniform(0, 1, (2, 3, 8, 8)).astype(np.float32)
    assert network.name.startswith("mean.pt (")
    np.testing.assert_allclose(network.features(batch), batch.mean(axis=(2, 3)), atol=1e-6)
