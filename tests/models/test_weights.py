"""Checkpoints: opened safely, renamed, understood from their shapes, loaded strictly or refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentsync.config.loader import load_preset
from latentsync.core.errors import WeightsError
from latentsync.models import UNet, UNetConfig
from latentsync.models.weights import (
    infer_unet_config,
    load_audio_encoder,
    load_autoencoder,
    load_strict,
    load_syncnet,
    load_syncnet_v2,
    load_unet,
    open_checkpoint,
    start_from_sd,
)
from latentsync.models.weights.rename import rename_unet_1_0, rename_vae

SMALL: dict[str, Any] = {
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "cross_attention_dim": 24,
    "use_motion_module": True,
    "motion_module_resolutions": [1, 2],
}


def small_unet(**change: Any) -> UNet:
    torch.manual_seed(3)
    return UNet.from_config({**SMALL, "zero_initialize_conv_in": False, "zero_initialize_conv_out": False, **change})


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


class Bomb:
    """A pickle that would make a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "module", "prefix", "safetensors"])
def test_every_wrapping_opens_to_the_same_tensors(wrap: str, tmp_path: Path) -> None:
    tensors = {"a.weight": torch.arange(4.0).half(), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.zeros(1)}
    path = tmp_path / ("x.safetensors" if wrap == "safetensors" else "x.pt")
    if wrap == "safetensors":
        save_file(tensors, path)
    elif wrap == "bare":
        torch.save(tensors, path)
    elif wrap == "prefix":
        torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path)
    else:
        torch.save({"global_step": 7, wrap: tensors}, path)
    opened = open_checkpoint(path)
    assert same(opened.tensors, tensors)
    assert {key: value.dtype for key, value in opened.tensors.items()} == {k: v.dtype for k, v in tensors.items()}
    assert opened.extra == ({"global_step": 7} if wrap in ("state_dict", "model", "module") else {})


def test_the_format_before_torch_1_6_opens(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "old.model", _use_new_zipfile_serialization=False)
    assert open_checkpoint(tmp_path / "old.model").tensors["a"].tolist() == [1, 1]


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"evil{zipped}.pt"
        payload = {"state_dict": {"a": torch.ones(1)}, "x": Bomb(tmp_path / "owned")}
        torch.save(payload, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match="would run code") as caught:
            open_checkpoint(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("text.pt", b"hello, I am no checkpoint", "PyTorch checkpoint"),
        ("empty.pt", b"", "PyTorch checkpoint"),
        ("zip.pt", b"PK\x03\x04" + b"\0" * 64, "PyTorch checkpoint"),
        ("text.safetensors", b"hello, I am no checkpoint", "safetensors"),
        ("pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    ],
)
def test_damaged_files_are_one_line_errors(name: str, content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=match) as caught:
        open_checkpoint(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not re.search(r"\(\d+\)", str(caught.value)), "what the unpickler tripped over tells nobody anything"


def test_a_truncated_checkpoint_and_a_missing_one(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(5000)}, tmp_path / "full.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "full.pt").read_bytes()[:9000])
    for name in ("cut.pt", "none.pt"):
        with pytest.raises(WeightsError, match=name):
            open_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use_motion_module": False},
        {"motion_module_decoder_only": True},
        {"motion_module_mid_block": True, "motion_module_resolutions": [2]},
        {"layers_per_block": 2, "cross_attention_dim": 40, "in_channels": 9, "out_channels": 8},
        {"add_audio_layer": False, "down_block_types": ["CrossAttnDownBlock3D"] * 2},
        {
            "motion_module_kwargs": {
                "attention_block_types": ["Temporal_Self"],
                "num_transformer_block": 2,
                "temporal_position_encoding_max_len": 9,
                "temporal_attention_dim_div": 2,
            }
        },
    ],
    ids=str,
)
def test_the_architecture_is_read_from_the_tensors(change: dict) -> None:
    with torch.device("meta"):
        state = UNet.from_config({**SMALL, **change}).state_dict()
        again = UNet(infer_unet_config(state))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in state.items()}


def test_the_released_architecture_is_read_from_the_tensors() -> None:
    config = UNetConfig.from_mapping(load_preset("stage2_efficient", "unet")["model"])  # type: ignore[arg-type]
    with torch.device("meta"):
        assert infer_unet_config(UNet(config).state_dict()) == config
    with pytest.raises(WeightsError, match="not a LatentSync U-Net"):
        infer_unet_config({"encoder.conv_in.weight": torch.zeros(1)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_released_file_loads_to_the_same_output(dtype: torch.dtype, tmp_path: Path) -> None:
    unet = small_unet().to(dtype).float().eval()
    state = {key: value.to(dtype) for key, value in unet.state_dict().items()}
    torch.save({"global_step": 5, "state_dict": state}, tmp_path / "latentsync_unet.pt")
    loaded = load_unet(tmp_path / "latentsync_unet.pt")
    assert same(loaded.state_dict(), unet.state_dict())
    x, states = torch.randn(1, 13, 2, 4, 4), torch.randn(2, 3, 24)
    with torch.no_grad():
        assert torch.equal(loaded(x, 3, states), unet(x, 3, states))


def test_names_of_1_0_are_translated(tmp_path: Path) -> None:
    unet = small_unet(use_motion_module=False)
    old = {
        key.replace(".norm2.", ".audio_cross_attn.norm.") if "transformer_blocks" in key else key: value
        for key, value in unet.state_dict().items()
    }
    old = {key.replace(".attn2.", ".audio_cross_attn.attn."): value for key, value in old.items()}
    assert any("audio_cross_attn.norm" in key for key in old)
    assert same(rename_unet_1_0(old), unet.state_dict())
    torch.save(old, tmp_path / "one.pt")
    assert same(load_unet(tmp_path / "one.pt").state_dict(), unet.state_dict())


def test_a_wrong_pair_is_refused_with_the_names(tmp_path: Path) -> None:
    torch.save({"state_dict": small_unet().state_dict()}, tmp_path / "x.pt")
    for change, match in (
        ({"use_motion_module": False}, r"\d+ unknown \(down_blocks.0.motion_modules.0"),
        ({"motion_module_mid_block": True}, r"\d+ missing \(mid_block.motion_modules.0"),
        ({"in_channels": 9}, r"1 of another shape \(conv_in.weight \(32, 13, 3, 3\) instead of \(32, 9, 3, 3\)\)"),
    ):
        with pytest.raises(WeightsError, match=match) as caught:
            load_unet(tmp_path / "x.pt", expected=UNetConfig.from_mapping({**SMALL, **change}))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_strict_loading_leaves_the_module_alone_on_refusal() -> None:
    unet = small_unet()
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()}
    del state["conv_out.bias"]
    with pytest.raises(WeightsError, match="1 missing"):
        load_strict(unet, state, "here")
    assert same(unet.state_dict(), before)


@pytest.mark.parametrize("channels", [4, 9])
def test_start_from_stable_diffusion(channels: int) -> None:
    """The stem answers as SD's does: to the latent, and with 9 channels to the turned-round mask and masked latent."""
    own = small_unet()
    sd = small_unet(use_motion_module=False, in_channels=channels, cross_attention_dim=40).state_dict()
    state, report = start_from_sd(own.state_dict(), sd)
    load_strict(own, state, "start")
    assert "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight" in report.left
    assert "down_blocks.0.resnets.0.conv1.weight" in report.copied
    assert all(
        "motion_modules." in key or key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for key in report.left
    )
    assert len(report.copied) + len(report.adapted) + len(report.left) == len(state)
    latent, masked, reference = torch.randn(3, 4, 6, 6)
    regenerate = (torch.rand(1, 6, 6) > 0.5).float()
    theirs = torch.cat([latent, regenerate, masked])[:channels]
    if channels == 4:
        masked = masked * 0
    ours = torch.cat([latent, 1 - regenerate, masked, reference])
    conv = torch.nn.functional.conv2d
    expected = conv(theirs[None], sd["conv_in.weight"], sd["conv_in.bias"])
    found = conv(ours[None], own.conv_in.weight, own.conv_in.bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_start_refuses_what_is_not_stable_diffusion() -> None:
    own = small_unet()
    with pytest.raises(WeightsError, match="names missing"):
        start_from_sd(own.state_dict(), {"conv_in.weight": torch.zeros(32, 4, 3, 3)})
    wide = small_unet(use_motion_module=False, in_channels=4, block_out_channels=[64, 96]).state_dict()
    with pytest.raises(WeightsError, match="Use the widths"):
        start_from_sd(own.state_dict(), wide)


def small_vae() -> Any:
    from latentsync.models import SdAutoencoder

    torch.manual_seed(1)
    return SdAutoencoder(
        {
            "block_out_channels": [32, 32],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "latent_channels": 4,
            "layers_per_block": 1,
            "_class_name": "AutoencoderKL",
        }
    ).eval()


@pytest.mark.parametrize("spelling", ["new", "old", "convolution"])
def test_autoencoder_files_in_both_spellings(spelling: str, tmp_path: Path) -> None:
    vae = small_vae()
    state = dict(vae.network.state_dict())
    if spelling != "new":
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, name in old.items():
            for key in [key for key in state if f".{new}." in key]:
                value = state.pop(key)
                as_conv = spelling == "convolution" and key.endswith("weight")
                state[key.replace(f".{new}.", f".{name}.")] = value[:, :, None, None] if as_conv else value
        assert any(".query." in key for key in state)
    assert same(rename_vae(state), vae.network.state_dict())
    save_file(
        {key: value.contiguous() for key, value in state.items()}, tmp_path / "diffusion_pytorch_model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(vae.to_mapping()))
    loaded = load_autoencoder(tmp_path / "diffusion_pytorch_model.safetensors")
    assert same(loaded.network.state_dict(), vae.network.state_dict())  # type: ignore[union-attr]


@torch.no_grad()
def test_autoencoder_scales_and_samples() -> None:
    from latentsync.models import Autoencoder

    vae = small_vae()
    assert isinstance(vae, Autoencoder)
    assert (vae.factor, vae.latent_channels, vae.scale) == (2, 4, 0.18215)
    pixels = torch.rand(2, 3, 8, 8) * 2 - 1
    mode = vae.encode(pixels)
    assert mode.shape == (2, 4, 4, 4)
    torch.testing.assert_close(mode, vae.network.encode(pixels).latent_dist.mean * 0.18215)
    one, two = (vae.encode(pixels, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, mode)
    torch.testing.assert_close(vae.decode(mode), vae.network.decode(mode / 0.18215).sample)


def test_released_autoencoder_counts() -> None:
    from latentsync.models import SdAutoencoder

    with torch.device("meta"):
        vae = SdAutoencoder()
    assert len(vae.network.state_dict()) == 248
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863


def test_openai_whisper_file(tmp_path: Path) -> None:
    from latentsync.models import AudioEncoder

    torch.manual_seed(0)
    shape = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 64, "positions": 10, "mel_bins": 8}
    audio_encoder = AudioEncoder.from_config(shape)
    names = (
        ("layers.", "blocks."), ("self_attn_layer_norm", "attn_ln"), ("final_layer_norm", "mlp_ln"),
        ("layer_norm.", "ln_post."), ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("self_attn.q_proj", "attn.query"),
        ("self_attn.k_proj", "attn.key"), ("self_attn.v_proj", "attn.value"), ("self_attn.out_proj", "attn.out"),
        ("embed_positions.weight", "positional_embedding"),
    )  # fmt: skip
    state = {}
    for key, value in audio_encoder.state_dict().items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        state[key] = value
    dims = {"n_mels": 8, "n_audio_ctx": 10, "n_audio_state": 16, "n_audio_head": 2, "n_audio_layer": 1}
    state["decoder.token_embedding.weight"] = torch.zeros(3)
    torch.save({"dims": dims, "model_state_dict": state}, tmp_path / "tiny.pt")
    assert same(load_audio_encoder(tmp_path / "tiny.pt").state_dict(), audio_encoder.state_dict())
    torch.save(state, tmp_path / "bare.pt")
    with pytest.raises(WeightsError, match="dims"):
        load_audio_encoder(tmp_path / "bare.pt")


def test_syncnet_files(tmp_path: Path) -> None:
    from latentsync.models import SyncNet, SyncNetV2

    encoder = {"block_out_channels": [32], "downsample_factors": [2]}
    config = {"audio_encoder": {"in_channels": 1, **encoder}, "visual_encoder": {"in_channels": 3, **encoder}}
    net = SyncNet.from_config(config)
    torch.save({"state_dict": net.state_dict(), "train_loss_list": [0.7]}, tmp_path / "stable_syncnet.pt")
    assert same(load_syncnet(tmp_path / "stable_syncnet.pt", config).state_dict(), net.state_dict())
    judge = SyncNetV2()
    old = {key: value for key, value in judge.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    assert same(load_syncnet_v2(tmp_path / "syncnet_v2.model").state_dict(), judge.state_dict())
