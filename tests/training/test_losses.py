"""Each loss of the U-Net against values computed by hand or by another implementation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.core.errors import WeightsError
from latentsync.diffusion import ddim_scheduler
from latentsync.diffusion.parameterization import EpsilonDenoising, FlowDenoising, clip_noise, reconstruction_loss
from latentsync.models import SyncNet
from latentsync.models.autoencoder import SdAutoencoder
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.models.vgg import VGG_TAPS, Vgg16
from latentsync.training.losses.perceptual import EncoderFeatures, PerceptualLoss, load_lpips
from latentsync.training.losses.sync import SyncLoss, SyncNetFacts, mel_columns, sync_cosine_loss
from latentsync.training.losses.trepa import TrepaLoss, feature_distance
from latentsync.training.losses.videomae import VideoMae, VideoMaeConfig, load_videomae


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- noise and estimate ----------------------------------------------------------------------------------------------


def test_the_estimate_is_what_the_scheduler_calls_the_original_sample() -> None:
    scheduler = ddim_scheduler(1000)
    method, made, noisy = EpsilonDenoising(), seeded(2, 4, 3, 8, 8), seeded(2, 4, 3, 8, 8, seed=1)
    for t in (0, 1, 500, 999):
        theirs = scheduler.step(made, t, noisy).pred_original_sample
        assert torch.allclose(method.clean(made, noisy, torch.tensor([t, t])), theirs, rtol=1e-4, atol=1e-4), t
    noise = seeded(2, 4, 3, 8, 8, seed=2)
    levels = torch.tensor([3, 977])
    assert torch.allclose(method.noisy(noisy, noise, levels), scheduler.add_noise(noisy, noise, levels), atol=1e-6)
    assert torch.allclose(method.clean(noise, method.noisy(noisy, noise, levels), levels), noisy, atol=1e-4)


def test_levels_are_uniform_over_the_whole_schedule_and_end_where_the_notes_say() -> None:
    method = EpsilonDenoising()
    levels = method.levels(torch.tensor([0.0, 0.4999, 0.9999999]))
    assert levels.tolist() == [0, 499, 999]
    # docs/method.md#schedule
    assert method.alphas[[951, 999]].tolist() == pytest.approx([0.008155, 0.004660], abs=2e-6)
    assert FlowDenoising().levels(torch.tensor([0.1, 0.4, 0.55, 1.0])).tolist() == pytest.approx([1, 0, 0.5, 1])


def test_the_noise_is_half_shared_and_follows_from_the_seeds_alone() -> None:
    seeds = torch.tensor([5, 9])
    noise = clip_noise(seeds, (16, 8, 16, 16), 1.0)
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    first, second = noise[:, :, 0].flatten(), noise[:, :, 1].flatten()
    assert float(first @ second / first.norm() / second.norm()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(clip_noise(seeds[1:], (16, 8, 16, 16), 1.0)[0], noise[1])
    one_map = clip_noise(seeds, (4, 3, 8, 8), math.inf)
    assert torch.equal(one_map[:, :, 0], one_map[:, :, 2])


def test_reconstruction_is_the_plain_mean_in_float32() -> None:
    made = torch.tensor([1.0, 2.0, 300.0], dtype=torch.float16)
    assert float(reconstruction_loss(made, torch.zeros(3))) == pytest.approx((1 + 4 + 90000) / 3)


# --- SyncNet ---------------------------------------------------------------------------------------------------------


def test_sync_is_minus_the_log_of_the_cosine_and_never_above_100() -> None:
    a = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], requires_grad=True)
    b = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    loss = sync_cosine_loss(a, b)
    assert float(loss.detach()) == pytest.approx((0 - math.log(0.6) + 100) / 3, rel=1e-5)
    loss.backward()
    assert torch.isfinite(a.grad).all()  # type: ignore[arg-type]
    half = torch.tensor([[0.6, 0.8]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(sync_cosine_loss(half, half)) == pytest.approx(0, abs=0.01)  # rounding leaves it just above 1


def test_the_mel_window_of_a_start_is_the_released_one() -> None:
    assert [mel_columns(s, 16) for s in (0, 1, 2, 5, 9)] == [(0, 52), (3, 55), (6, 58), (16, 68), (28, 80)]
    assert mel_columns(0, 25) == (0, 80) and mel_columns(0, 5) == (0, 16)


def small_syncnet(channels: int = 6) -> SyncNet:
    torch.manual_seed(0)
    return SyncNet.from_config(
        {
            "audio_encoder": {"in_channels": 1, "block_out_channels": [32, 64], "downsample_factors": [[2, 1], [2, 3]]},
            "visual_encoder": {
                "in_channels": channels,
                "block_out_channels": [32, 64],
                "downsample_factors": [[1, 2], 2],
            },
        }
    )


class Recorder(nn.Module):
    """Stands where the SyncNet is and keeps what it was shown."""

    def forward(self, frames: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = frames
        unit = functional.normalize(torch.ones(len(frames), 4), dim=1)
        return unit, unit


def test_syncnet_sees_the_lower_half_of_all_frames_on_its_channels() -> None:
    recorder = Recorder()
    loss = SyncLoss(recorder, SyncNetFacts(num_frames=2, resolution=8))  # type: ignore[arg-type]
    frames = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(1, 2, 3, 8, 8)
    loss(frames, torch.zeros(1, 1, 80, 7))
    assert recorder.seen.shape == (1, 6, 4, 8)
    assert torch.equal(recorder.seen[0, 3], frames[0, 1, 0, 4:])  # second frame's red, rows 4 to 7
    wide = seeded(1, 2, 3, 16, 16)
    loss(wide, torch.zeros(1, 1, 80, 7))
    enlarged = functional.interpolate(wide[0], (8, 8), mode="bicubic", align_corners=False, antialias=False)
    assert torch.allclose(recorder.seen[0], enlarged[:, :, 4:].flatten(0, 1))


# --- perceptual ------------------------------------------------------------------------------------------------------


class Doubled(nn.Module):
    def forward(self, pictures: Tensor) -> list[Tensor]:
        return [pictures[:, :2], 2 * pictures[:, :2]]


def test_the_perceptual_distance_is_lpips_formula_on_the_lower_half() -> None:
    real, made = torch.zeros(1, 3, 4, 2), torch.zeros(1, 3, 4, 2)
    real[:, 0], made[:, 0] = 5.0, 5.0
    made[:, 0, 3, :], made[:, 1, 3, :] = 3.0, 4.0  # the last row turns from (1, 0) to (0.6, 0.8)
    heads = [torch.tensor([1.0, 10.0]), torch.tensor([0.0, 1.0])]
    # per layer: head · (0.4², 0.8²) on one of the two rows that are looked at
    want = (1 * 0.16 + 10 * 0.64) / 2 + 0.64 / 2
    loss = PerceptualLoss("test", Doubled(), heads)
    assert float(loss(made, real)) == pytest.approx(want, rel=1e-5)
    upper = made.clone()
    upper[:, :, :2] = 9
    assert float(loss(upper, real)) == pytest.approx(want, rel=1e-5)


def test_lpips_files_are_read_by_their_published_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Vgg16()
    state = dict(network.state_dict()) | {"classifier.0.weight": torch.zeros(1)}
    assert sorted({int(k.split(".")[1]) for k in network.state_dict()}) == [
        0,
        2,
        5,
        7,
        10,
        12,
        14,
        17,
        19,
        21,
        24,
        26,
        28,
    ]
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(VGG_TAPS)}
    torch.save(state, tmp_path / "vgg.pth")
    torch.save(heads, tmp_path / "lpips.pth")
    loss = load_lpips(tmp_path / "vgg.pth", tmp_path / "lpips.pth")
    a, b = seeded(1, 3, 64, 32), seeded(1, 3, 64, 32, seed=1)
    taps = [network(x[:, :, 32:]) for x in (a, b)]
    want = 0.0
    for x, y, head in zip(*taps, heads.values(), strict=True):
        x, y = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (x, y))
        want += float(functional.conv2d((x - y).square(), head).mean())
    assert float(loss(a, b)) == pytest.approx(want, rel=1e-4)
    assert float(loss(a, a)) == 0
    torch.save({"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no layer lin0 of width 64"):
        load_lpips(tmp_path / "vgg.pth", tmp_path / "other.pth")


def test_our_own_features_come_from_every_level_of_the_encoder() -> None:
    tiny = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 16, 16)))
    assert [tuple(m.shape) for m in EncoderFeatures(tiny)(seeded(1, 3, 64, 64))] == [
        (1, 8, 16, 16), (1, 16, 8, 8), (1, 16, 4, 4)
    ]  # fmt: skip
    sd = small_sd()
    assert len(EncoderFeatures(sd)(seeded(1, 3, 32, 32))) == 2


def small_sd() -> SdAutoencoder:
    torch.manual_seed(0)
    return SdAutoencoder.from_config(
        {
            "block_out_channels": [8, 8], "down_block_types": ["DownEncoderBlock2D"] * 2, "layers_per_block": 1,
            "up_block_types": ["UpDecoderBlock2D"] * 2, "norm_num_groups": 4, "latent_channels": 4, "sample_size": 32,
        }
    )  # fmt: skip


# --- TREPA -----------------------------------------------------------------------------------------------------------

SMALL_VIDEO = VideoMaeConfig(width=32, depth=2, num_heads=4, inner=64, patch_px=8, tubelet=2, side_px=32, num_frames=4)


def test_the_feature_distance_is_two_minus_twice_the_cosine_over_the_width() -> None:
    a, b = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0]])
    want = ((2 - 2 * 24 / 25) / 2 + (2 - 0) / 2) / 2
    assert float(feature_distance(a, b)) == pytest.approx(want)


def test_videomae_is_transformers_own_with_the_published_names(tmp_path: Path) -> None:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    c = SMALL_VIDEO
    torch.manual_seed(0)
    theirs = VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=c.side_px, patch_size=c.patch_px, num_frames=c.num_frames, tubelet_size=c.tubelet,
            hidden_size=c.width, num_hidden_layers=c.depth, num_attention_heads=c.num_heads,
            intermediate_size=c.inner, qkv_bias=True, use_mean_pooling=True, layer_norm_eps=1e-6,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():
        parameter.data.normal_(0, 0.2)
    source = theirs.state_dict()
    state = {
        "patch_embed.proj.weight": source["videomae.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": source["videomae.embeddings.patch_embeddings.projection.bias"],
        "fc_norm.weight": source["fc_norm.weight"], "fc_norm.bias": source["fc_norm.bias"],
        "head.weight": torch.zeros(174, c.width),
    }  # fmt: skip
    layers: list[dict[str, Tensor]] = [{} for _ in range(c.depth)]
    for key, value in source.items():
        if key.startswith("videomae.encoder.layer."):
            index, rest = key.removeprefix("videomae.encoder.layer.").split(".", 1)
            layers[int(index)][rest] = value
    names = {
        "layernorm_before": "norm1", "layernorm_after": "norm2", "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
    }  # fmt: skip
    for index, layer in enumerate(layers):
        for old, new in names.items():
            for kind in ("weight", "bias"):
                state[f"blocks.{index}.{new}.{kind}"] = layer[f"{old}.{kind}"]
        inner = "attention.attention."
        state[f"blocks.{index}.attn.qkv.weight"] = torch.cat(
            [layer[f"{inner}{n}.weight"] for n in ("query", "key", "value")]
        )
        for letter, name in (("q", "query"), ("v", "value")):
            bias = layer.get(f"{inner}{letter}_bias", layer.get(f"{inner}{name}.bias"))
            assert bias is not None
            state[f"blocks.{index}.attn.{letter}_bias"] = bias
        if f"{inner}key.bias" in layer:  # of newer versions; the published network has none
            layer[f"{inner}key.bias"].zero_()
    torch.save({"module": state}, tmp_path / "vit_g.pth")
    ours = load_videomae(tmp_path / "vit_g.pth", c).eval()
    clips = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tokens = theirs.videomae(clips).last_hidden_state
        assert torch.allclose(ours(clips), theirs.fc_norm(tokens.mean(1)), atol=1e-4)
        assert ours(clips[:, :2]).shape == (2, 32)  # another length: the table is interpolated
    with pytest.raises(WeightsError, match="wanted: VideoMAE v2"):
        load_videomae(tmp_path / "vit_g.pth")


def test_the_giant_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        giant = VideoMae()
    head = 174 * 1408 + 174
    assert sum(p.numel() for p in giant.parameters()) + head == 1_011_855_918  # docs/method.md#trepa


class Mean(VideoMae):
    """The clip itself as its features, so that what it is shown can be read."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.flatten(1)


def test_trepa_shows_clamped_pictures_from_0_to_1_at_its_own_side() -> None:
    made, real = 3 * seeded(1, 4, 3, 16, 16), seeded(1, 4, 3, 16, 16, seed=1)

    def shown(x: Tensor) -> Tensor:
        big = functional.interpolate(x[0], (32, 32), mode="bicubic", align_corners=False)
        return (big / 2 + 0.5).clamp(0, 1).flatten()[None]

    want = feature_distance(shown(made), shown(real))
    assert float(TrepaLoss(Mean(SMALL_VIDEO))(made, real)) == pytest.approx(float(want), rel=1e-5)


@pytest.mark.parametrize("kind", ["videomae", "syncnet"])
def test_trepa_reaches_the_generated_clip_and_nothing_else(kind: str) -> None:
    torch.manual_seed(0)
    network: VideoMae | SyncLoss
    if kind == "videomae":
        network = VideoMae(SMALL_VIDEO)
    else:
        network = SyncLoss(small_syncnet(12), SyncNetFacts(num_frames=4, resolution=16))
    loss = TrepaLoss(network.requires_grad_(False))
    made = seeded(1, 4, 3, 16, 16).mul(0.3).requires_grad_()
    loss(made, seeded(1, 4, 3, 16, 16, seed=1) * 0.3).backward()
    assert made.grad is not None and float(made.grad.abs().max()) > 0
    assert float(loss(made.detach(), made.detach())) == pytest.approx(0, abs=1e-9)


def test_the_latent_syncnet_takes_latents_frame_by_frame() -> None:
    loss = SyncLoss(small_syncnet(8), SyncNetFacts(num_frames=2, input="latent"))
    latents = seeded(1, 2, 4, 4, 8).requires_grad_()
    assert torch.equal(loss.visual_input(latents)[0, 4:], latents[0, 1])
    loss(latents, torch.from_numpy(np.zeros((1, 1, 8, 6), np.float32))).backward()
    assert latents.grad is not None and float(latents.grad.abs().max()) > 0
