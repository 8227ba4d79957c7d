"""The U-Net against stored numbers, against diffusers' 2-D network, and its switches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from golden_fill import fill, wave

from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError
from latentsync.models import StepCache, UNet

TINY: dict[str, Any] = {
    "in_channels": 13,
    "out_channels": 4,
    "block_out_channels": [32, 64, 64, 64],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 384,
}
MOTION = {**TINY, "use_motion_module": True}
# Three levels, one layer a block, attention everywhere, other channels: the shape of the embedded model, smaller.
SMALL: dict[str, Any] = {
    "in_channels": 97,
    "out_channels": 32,
    "block_out_channels": [16, 32, 48],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock3D"] * 3,
    "up_block_types": ["CrossAttnUpBlock3D"] * 3,
    "norm_num_groups": 16,
    "cross_attention_dim": 24,
    "use_motion_module": True,
    "motion_module_mid_block": True,
    "zero_initialize_conv_in": False,
}


def filled(config: dict[str, Any]) -> UNet:
    unet = UNet.from_config(config).double().eval()
    fill(unet)
    return unet


def small_inputs(batch: int = 2, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return wave((batch, 97, frames, 8, 8), 0.13, 0.2), wave((batch, frames, 5, 24), 0.07, 0.5)


GOLDEN = [
    (MOTION, 1204, 0.04768528, 0.10333914, (0.04748083, 0.05761343, 0.05472339, 0.05063559),
     (0.04085015, 0.03633185, 0.03321454, 0.03793079)),
    (TINY, 684, 0.04302845, 0.16953980, (0.02121987, 0.01409155, -0.00328829, -0.03760430),
     (0.07107510, 0.06944966, 0.06223554, 0.05602288)),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("config", "tensors", "mean", "std", "first", "late"), GOLDEN, ids=["motion", "none"])
def test_golden_vector(config: dict, tensors: int, mean: float, std: float, first: tuple, late: tuple) -> None:
    unet = filled(config)
    assert len(list(unet.parameters())) == tensors
    y = unet(wave((1, 13, 3, 8, 8), 0.13, 0.2), 501, wave((3, 50, 384), 0.07, 0.5))
    near = {"abs": 1e-5, "rel": 0}
    assert y.mean().item() == pytest.approx(mean, **near)
    assert y.std().item() == pytest.approx(std, **near)
    assert y[0, 0, 0, 0, 0:4].tolist() == pytest.approx(first, **near)
    assert y[0, 3, 2, 7, 4:8].tolist() == pytest.approx(late, **near)


@pytest.mark.parametrize(
    ("preset", "keys", "parameters"),
    [
        ("stage1", 686, 849_962_244),
        ("stage2", 1246, 1_267_099_844),
        ("stage2_efficient", 1022, 1_100_244_804),
    ],
)
def test_released_counts(preset: str, keys: int, parameters: int) -> None:
    with torch.device("meta"):
        unet = UNet.from_config(load_preset(preset, "unet")["model"])  # type: ignore[arg-type]
    assert len(unet.state_dict()) == keys
    assert sum(p.numel() for p in unet.parameters()) == parameters


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_512_pixels_change_the_resolution_only(stage: str) -> None:
    small, large = load_preset(stage, "unet"), load_preset(f"{stage}_512", "unet")
    assert (small.pop("resolution"), large.pop("resolution")) == (256, 512)
    assert small == large


def test_released_shapes_of_each_kind() -> None:
    with torch.device("meta"):
        unet = UNet.from_config(load_preset("stage2", "unet")["model"])  # type: ignore[arg-type]
    shapes = {key: tuple(value.shape) for key, value in unet.state_dict().items()}
    up = [shapes[f"up_blocks.{i}.resnets.{j}.conv1.weight"][1] for i, j in itertools.product(range(4), range(3))]
    assert up == [2560, 2560, 2560, 2560, 2560, 1920, 1920, 1280, 960, 960, 640, 640]
    block = "up_blocks.3.attentions.2.transformer_blocks.0"
    motion = "down_blocks.3.motion_modules.1.temporal_transformer"
    for key, shape in {
        "conv_in.weight": (320, 13, 3, 3),
        "time_embedding.linear_1.weight": (1280, 320),
        "mid_block.resnets.1.time_emb_proj.weight": (1280, 1280),
        f"{block}.attn2.to_k.weight": (320, 384),
        f"{block}.attn1.to_out.0.bias": (320,),
        f"{block}.ff.net.0.proj.weight": (2560, 320),
        f"{block}.ff.net.2.weight": (320, 1280),
        f"{motion}.proj_in.weight": (1280, 1280),
        f"{motion}.transformer_blocks.0.attention_blocks.1.pos_encoder.pe": (1, 24, 1280),
        f"{motion}.transformer_blocks.0.norms.1.weight": (1280,),
        f"{motion}.transformer_blocks.0.ff_norm.bias": (1280,),
        "down_blocks.2.downsamplers.0.conv.weight": (1280, 1280, 3, 3),
        "up_blocks.2.upsamplers.0.conv.weight": (640, 640, 3, 3),
    }.items():
        assert shapes[key] == shape, key
    assert "down_blocks.3.downsamplers.0.conv.weight" not in shapes
    assert "mid_block.motion_modules.0.temporal_transformer.norm.weight" not in shapes


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 6])
def test_one_frame_is_the_two_dimensional_network_of_diffusers(side: int) -> None:
    from diffusers import UNet2DConditionModel

    widths = [32, 64]
    theirs = UNet2DConditionModel(
        in_channels=13,
        out_channels=4,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
    )
    theirs = theirs.double().eval()
    ours = UNet.from_config(
        {
            "in_channels": 13,
            "out_channels": 4,
            "block_out_channels": widths,
            "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "cross_attention_dim": 24,
            "attention_head_dim": 4,
        }
    ).double()
    fill(theirs)
    ours.load_state_dict(theirs.state_dict())
    x, states, t = wave((2, 13, 1, side, side - 1), 0.3, 0.1), wave((2, 1, 7, 24), 0.2, 0.4), torch.tensor([7, 900])
    expected = theirs(x[:, :, 0], t, states[:, 0]).sample
    torch.testing.assert_close(ours(x, t, states)[:, :, 0], expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_resnet_norms_pool_over_time() -> None:
    """Without temporal layers the frames still influence each other: their norms share statistics."""
    unet = filled({**SMALL, "use_motion_module": False})
    x, states = small_inputs(1)
    changed = x.clone()
    changed[:, :, 2] *= 3
    assert (unet(x, 10, states) - unet(changed, 10, states))[:, :, 0].abs().max() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_are_independent_and_states_may_be_folded() -> None:
    unet = filled(SMALL)
    x, states = small_inputs()
    t = torch.tensor([3.0, 700.0])
    both = unet(x, t, states)
    torch.testing.assert_close(both, unet(x, t, states.flatten(0, 1)), rtol=0, atol=0)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], unet(x[i : i + 1], t[i], states[i : i + 1]), rtol=0, atol=1e-12)


@torch.no_grad()
def test_memory_layout_changes_nothing() -> None:
    unet = filled(SMALL)
    x, states = small_inputs()
    expected = unet(x, 10, states)
    unet.to(memory_format=torch.channels_last)
    torch.testing.assert_close(unet(x, 10, states), expected, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)], ids=str
)
def test_narrow_dtypes_stay_near_float64(dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)
    unet = UNet.from_config({**SMALL, "zero_initialize_conv_out": False}).double().eval()
    x, states = small_inputs(1)
    exact = unet(x, 500, states)
    y = unet.to(dtype)(x.to(dtype), 500, states.to(dtype))
    assert y.dtype == dtype
    assert ((y.double() - exact).norm() / exact.norm()).item() < limit


@torch.no_grad()
def test_cache_full_steps_are_exact_and_light_steps_skip_the_deep_layers() -> None:
    unet = filled(SMALL)
    x, states = small_inputs(1)
    calls: list[str] = []
    unet.mid_block.register_forward_hook(lambda *_: calls.append("mid"))
    unet.up_blocks[-1].resnets[0].register_forward_hook(lambda *_: calls.append("up0"))
    unet.up_blocks[-1].resnets[1].register_forward_hook(lambda *_: calls.append("up1"))
    cache = StepCache(interval=3)
    full = ["mid", "up0", "up1"]
    for step, expected_calls in enumerate([full, ["up1"], ["up1"], full]):
        calls.clear()
        y = unet(x + 0.01 * step, 900 - 50 * step, states, cache=cache)
        assert calls == expected_calls
        exact = unet(x + 0.01 * step, 900 - 50 * step, states)
        if expected_calls == full:
            assert torch.equal(y, exact)
        else:
            error = (y - exact).norm() / exact.norm()
            assert 0 < error.item() < 0.1
    cache.reset()
    assert torch.equal(unet(x, 5, states, cache=cache), unet(x, 5, states))


@torch.no_grad()
def test_cache_of_another_shape_is_an_error() -> None:
    unet = filled(SMALL)
    x, states = small_inputs(1)
    cache = StepCache(interval=2)
    unet(x, 5, states, cache=cache)
    with pytest.raises(ValueError, match="reset"):
        unet(x[:, :, :2], 5, states[:, :2], cache=cache)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    unet = filled(SMALL)
    x, states = small_inputs(1)
    gradients = []
    for is_on in (False, True):
        unet.set_gradient_checkpointing(is_on)
        unet.zero_grad()
        unet(x, 5, states).square().mean().backward()
        gradients.append([p.grad.clone() for p in unet.parameters()])  # type: ignore[union-attr]
    for plain, saved in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saved, rtol=0, atol=1e-14)


def test_initial_values() -> None:
    unet = UNet.from_config({**MOTION, "block_out_channels": [32, 32], **_two_levels()})
    assert not unet.conv_in.weight.any() and not unet.conv_out.weight.any() and not unet.conv_out.bias.any()
    outs = [value for key, value in unet.named_parameters() if "temporal_transformer.proj_out" in key]
    assert outs and not any(value.any() for value in outs)
    assert UNet.from_config(SMALL).conv_in.weight.any()


def test_no_audio_layer_means_no_audio_parameters_and_no_audio() -> None:
    unet = filled({**SMALL, "add_audio_layer": False})
    assert not [key for key in unet.state_dict() if "attn2" in key or "transformer_blocks.0.norm2" in key]
    x, states = small_inputs(1)
    with torch.no_grad():
        assert torch.equal(unet(x, 5, states), unet(x, 5))


def test_too_many_frames_and_wrong_shapes_are_refused() -> None:
    unet = UNet.from_config(SMALL)
    with pytest.raises(ValueError, match="25 frames"):
        unet(torch.zeros(1, 97, 25, 2, 2), 1, None)
    with pytest.raises(ValueError, match="states"):
        unet(torch.zeros(1, 97, 2, 2, 2), 1, torch.zeros(3, 5, 24))
    with pytest.raises(ValueError, match="sample"):
        unet(torch.zeros(1, 13, 2, 2, 2), 1, None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"colour": 1}, "model.colour"),
        ({"use_inflated_groupnorm": True}, "use_inflated_groupnorm"),
        ({"act_fn": "relu"}, "act_fn"),
        ({"norm_num_groups": 7}, "norm_num_groups"),
        ({"down_block_types": ["DownBlock3D"]}, "down_block_types"),
        ({"up_block_types": ["Sideways"] * 4}, "up_block_types"),
        ({"in_channels": "13"}, "in_channels"),
        ({"motion_module_kwargs": {"speed": 2}}, "motion_module_kwargs.speed"),
        ({"motion_module_kwargs": {"attention_block_types": ["Spatial"]}}, "attention_block_types"),
    ],
)
def test_bad_configs_are_refused_by_name(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        UNet.from_config({**TINY, **change})


def test_yaml_numbers_written_as_text_are_read() -> None:
    assert UNet.from_config({**SMALL, "norm_eps": "1e-5", "sample_size": 64}).config.norm_eps == 1e-5


def _two_levels() -> dict[str, Any]:
    return {
        "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
        "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    }


def small_tiny() -> dict[str, Any]:
    config = load_preset("tiny", "unet")["model"]
    assert isinstance(config, dict)
    return config | {"in_channels": 13, "out_channels": 4, "block_out_channels": [32, 32], "cross_attention_dim": 8,
                     "attention_head_dim": 2, "motion_module_kwargs": {"num_attention_heads": 2},
                     "zero_initialize_conv_in": False, "zero_initialize_conv_out": False}  # fmt: skip


@pytest.mark.parametrize(("code", "part", "count"), [(0, "audio_embedding", 4), (5, "lip_predictor", 13)])
def test_tokens_can_also_reach_every_resnet_through_the_time_embedding(code: int, part: str, count: int) -> None:
    small = small_tiny() | {"audio_code": code}
    torch.manual_seed(0)
    unet = UNet.from_config(small)
    plain = UNet.from_config(small | {"audio_embedding_tokens": 0})
    extra = set(unet.state_dict()) - set(plain.state_dict())
    assert all(key.startswith(f"{part}.") for key in extra)
    assert len(extra) == count
    plain.load_state_dict({k: v for k, v in unet.state_dict().items() if k not in extra})
    x, states = torch.randn(2, 13, 3, 8, 8), torch.randn(2, 3, 10, 8)
    with torch.no_grad():
        if not code:  # its last layer starts at zero
            assert torch.allclose(unet(x, 500, states), plain(x, 500, states), atol=1e-5)
            torch.nn.init.normal_(unet.audio_embedding.linear_2.weight)
        before = unet(x, 500, states)
        states[1, 2] += 1
        after = unet(x, 500, states)
    assert torch.equal(before[0], after[0])  # the other clip does not hear it
    assert not torch.allclose(before[1, :, 2], after[1, :, 2], atol=1e-3)


def test_an_lip_predictor_speaks_through_its_code_alone() -> None:
    torch.manual_seed(0)
    unet = UNet.from_config(small_tiny() | {"audio_code": 5})
    tokens = torch.randn(3, 80)
    with torch.no_grad():
        assert unet.lip_predictor.code(tokens).shape == (3, 5)
        given, picture = unet.lip_predictor(tokens, (8, 8))
        assert given.shape == (3, 128) and picture.shape == (3, 32, 8, 8)
        unet.lip_predictor.head.weight.zero_()
        deaf = [part.std(0).max() for part in unet.lip_predictor(tokens, (8, 8))]
    assert max(deaf) < 1e-6
    assert given.std(0).max() > 1e-3 and picture.std(0).max() > 1e-3
