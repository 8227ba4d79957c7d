"""StableSyncNet and SyncNet v2: stored numbers, released counts and keys."""

from __future__ import annotations

import pytest
import torch
from golden_fill import fill, wave

from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError
from latentsync.models import SyncNet, SyncNetV2

TINY = {
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32, 64],
        "downsample_factors": [[2, 1], [2, 3]],
        "attn_blocks": [False, True],
        "dropout": 0.0,
    },
    "visual_encoder": {
        "in_channels": 6,
        "block_out_channels": [32, 64],
        "downsample_factors": [[1, 2], 2],
        "attn_blocks": [False, True],
        "dropout": 0.0,
    },
}


@torch.no_grad()
def test_golden_vector() -> None:
    net = SyncNet.from_config(TINY).double().eval()
    fill(net)
    visual, audio = net(wave((1, 6, 4, 8), 0.3, 0.1), wave((1, 1, 8, 6), 0.4, 0.3))
    near = {"abs": 1e-5, "rel": 0}
    assert visual.shape == audio.shape == (1, 256)
    assert visual[0, :4].tolist() == pytest.approx([0.07700528, 0.06903976, 0.08862582, 0.08735354], **near)
    assert audio[0, :4].tolist() == pytest.approx([0.09452289, 0.06276902, 0.05074858, 0.09135013], **near)
    assert (visual * audio).sum().item() == pytest.approx(0.89142535, **near)
    assert visual.sum().item() == pytest.approx(11.00138891, **near)
    assert audio.sum().item() == pytest.approx(10.74178092, **near)


@pytest.mark.parametrize(
    ("preset", "keys", "parameters", "frames", "mel", "width"),
    [
        ("16_pixel_attn", 266, 401_306_080, (48, 128, 256), (80, 52), 2048),
        ("16_pixel", 178, 371_766_496, (48, 128, 256), (80, 52), 2048),
        ("16_latent", 144, 65_544_416, (64, 32, 32), (80, 52), 1024),
        ("25_pixel", None, None, (75, 128, 256), (80, 80), 1024),
    ],
)
def test_released_counts_and_embedding(
    preset: str, keys: int | None, parameters: int | None, frames: tuple, mel: tuple, width: int
) -> None:
    with torch.device("meta"):
        net = SyncNet.from_config(load_preset(preset, "syncnet")["model"])  # type: ignore[arg-type]
        visual, audio = net(torch.empty(2, *frames), torch.empty(2, 1, *mel))
    assert visual.shape == audio.shape == (2, width)
    if keys is not None:
        assert len(net.state_dict()) == keys
        assert sum(p.numel() for p in net.parameters()) == parameters


def test_released_attention_sits_where_the_file_has_it() -> None:
    with torch.device("meta"):
        net = SyncNet.from_config(load_preset("16_pixel_attn", "syncnet")["model"])  # type: ignore[arg-type]
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = sorted({key.split(".attn.")[0] for key in shapes if ".attn." in key})
    assert found == [
        "audio_encoder.down_blocks.4",
        "audio_encoder.down_blocks.6",
        "visual_encoder.down_blocks.5",
        "visual_encoder.down_blocks.7",
    ]
    assert shapes["audio_encoder.down_blocks.6.attn.to_q.bias"] == (512,)
    assert shapes["visual_encoder.down_blocks.7.ff.net.0.proj.weight"] == (8192, 1024)
    assert "audio_encoder.down_blocks.3.downsample_conv.weight" not in shapes


def test_a_network_describes_itself() -> None:
    net = SyncNet.from_config(TINY)
    assert net.to_mapping() == TINY
    assert SyncNet.from_config(net.to_mapping()).state_dict().keys() == net.state_dict().keys()


@torch.no_grad()
def test_vectors_are_unit_and_not_negative() -> None:
    torch.manual_seed(0)
    net = SyncNet.from_config(TINY).eval()
    for side in net(torch.randn(3, 6, 4, 8), torch.randn(3, 1, 8, 6)):
        torch.testing.assert_close(side.norm(dim=1), torch.ones(3))
        assert (side >= 0).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"attn_blocks": [1]}, "attn_blocks"),
        ({"downsample_factors": [2]}, "downsample_factors"),
        ({"block_out_channels": [32, 60]}, "block_out_channels"),
        ({"pooling": 3}, "pooling"),
    ],
)
def test_bad_configs_are_refused_by_name(change: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        SyncNet.from_config({**TINY, "audio_encoder": {**TINY["audio_encoder"], **change}})


def test_v2_keys_shapes_and_outputs() -> None:
    with torch.device("meta"):
        net = SyncNetV2().eval()
        assert net.embed_audio(torch.empty(2, 1, 13, 20)).shape == (2, 1024)
        assert net.embed_lips(torch.empty(2, 3, 5, 224, 224)).shape == (2, 1024)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == 13_631_616
    for key, shape in {
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.4.weight": (192, 64, 3, 3),
        "netcnnaud.5.running_mean": (192,),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netfcaud.3.weight": (1024, 512),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.4.weight": (256, 96, 1, 5, 5),
        "netcnnlip.14.weight": (256, 256, 1, 3, 3),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
        "netfclip.1.weight": (512,),
    }.items():
        assert shapes[key] == shape, key
