"""The first training code: the loop, the losses, and what the networks are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.core.errors import LatentSyncError
from latentsync.models import UNet
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.training.autoencoder import laplacian_loss, latent_statistics, pieces
from latentsync.training.clips import load_clips
from latentsync.training.features import pixels_of, variant
from latentsync.training.listener import POSITIONS, disturb, pack, principal_directions
from latentsync.training.loop import LoopConfig, train
from latentsync.training.unet import Example, UNetTask, assemble, batches, region_of


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Two clips of two people, 40 frames, 256 px: a moving gradient with a box for a mouth."""
    for name, person, split in (("a", "ann", "train"), ("b", "bob", "val")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        y, x = np.mgrid[0:256, 0:256]
        crops = np.stack([np.stack([x, y, (x + 4 * k) % 256], -1) for k in range(40)]).astype(np.uint8)
        np.save(folder / "crops.npy", crops)
        np.save(folder / "wave.npy", np.zeros(25600, np.float32))
        (folder / "meta.json").write_text(json.dumps({"person": person, "split": split, "in_sync": True}))
    return tmp_path / "data"


def numbers() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(8, 2, generator=generator)


def test_the_loop_learns_and_carries_on_from_its_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    target = torch.tensor([[2.0], [-1.0]])

    def loss(x: Tensor) -> dict[str, Tensor]:
        return {"fit": (module(x) - x @ target).square().mean()}

    first = LoopConfig(minutes=0.02, learning_rate=0.05, warmup_steps=1, log_every=5)
    weights = train(module, numbers(), loss, tmp_path, first)
    assert torch.allclose(weights["weight"], target.T, atol=0.1)
    steps = torch.load(tmp_path / "state.pt", weights_only=True)["step"]
    other = nn.Linear(2, 1)
    train(other, numbers(), lambda x: {"fit": other(x).square().mean()}, tmp_path, first)  # the budget is used up
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == steps
    assert torch.equal(other.weight, module.weight)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["fit"] < lines[0]["fit"]


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    before = module.weight.detach().clone()
    with pytest.raises(LatentSyncError, match="not finite ten times"):
        train(module, numbers(), lambda x: {"bad": module(x).mean() * float("nan")}, tmp_path, LoopConfig(minutes=1))
    assert torch.equal(module.weight, before)


def test_no_clips_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match="no prepared clips of split 'train'"):
        load_clips(tmp_path, "train")


def test_the_laplacian_loss_sees_every_scale_and_nothing_in_equal_pictures() -> None:
    x = torch.rand(1, 3, 32, 32)
    assert laplacian_loss(x, x) == 0
    fine = x + 0.1 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    assert float(laplacian_loss(fine, x)) == pytest.approx(0.1, rel=1e-4)
    # four by four blocks of ±0.1: gone after two halvings, so only the third band differs
    blocks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    coarse = x + 0.1 * blocks.repeat(4, 4)
    assert float(laplacian_loss(coarse, x)) == pytest.approx(0.1, rel=1e-4)


def test_pieces_and_latent_statistics(prepared: Path) -> None:
    clips = load_clips(prepared, "train")
    batch = next(pieces(clips, 3, 64, torch.Generator().manual_seed(0)))
    assert batch.shape == (3, 3, 64, 64)
    assert batch.abs().max() <= 1
    torch.manual_seed(0)
    model = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8)))
    model.set_latent_statistics(*latent_statistics(model, clips, every=8))
    x = torch.from_numpy(np.ascontiguousarray(clips[0].crops[::8])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = model.encode(x)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_a_held_out_clip_stays_as_it_is_and_a_variant_is_always_the_same(prepared: Path) -> None:
    (held_out,), (trained,) = load_clips(prepared, "val"), load_clips(prepared, "train")
    assert variant(held_out, 0)[0] is False
    exact = torch.from_numpy(np.array(held_out.crops[:2])).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.equal(pixels_of(held_out, 0, slice(0, 2)), exact)
    assert torch.equal(pixels_of(trained, 1, slice(0, 2)), pixels_of(trained, 1, slice(0, 2)))
    assert not torch.equal(variant(trained, 0)[1], variant(trained, 1)[1])


def test_speech_is_packed_into_windows_and_disturbed_without_moving_it() -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, 16000 * 4).astype(np.float16) for _ in range(4)]
    windows = pack(waves, rng, (1.0, 1.0))
    assert windows.shape[1] == POSITIONS * 320
    mel = torch.zeros(1, 80, 100)
    mel[:, :, 40:50] = 1.0
    made = disturb(mel, torch.Generator().manual_seed(1))
    level = made.mean(1)[0]
    assert level[40:50].mean() > level[:40].mean() + 0.2


def test_principal_directions_whiten() -> None:
    states = torch.randn(40, 50, 160, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 3, 160)
    mean, project = principal_directions(states)
    spread = ((states.flatten(0, 1) - mean) @ project).std(0)
    assert torch.allclose(spread, torch.ones_like(spread), atol=0.02)


# --- the U-Net's task ------------------------------------------------------------------------------------------------


def small_unet() -> UNet:
    torch.manual_seed(0)
    return UNet.from_config(
        {
            "in_channels": 13, "out_channels": 4, "block_out_channels": [8], "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock3D"], "up_block_types": ["CrossAttnUpBlock3D"],
            "attention_head_dim": 2, "cross_attention_dim": 8, "norm_num_groups": 4, "use_motion_module": True,
            "motion_module_resolutions": [1], "motion_module_kwargs": {"num_attention_heads": 2},
        }
    )  # fmt: skip


def examples(prepared: Path, num_frames: int = 40) -> list[Example]:
    (clip,) = load_clips(prepared, "train")
    ramp = torch.arange(num_frames, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 4, 16, 16)
    return [Example(clip, 0, ramp.half(), ramp.half(), torch.ones(num_frames, 10, 8))]


def test_references_come_from_elsewhere_in_the_clip(prepared: Path) -> None:
    source = batches(examples(prepared), 4, 8, torch.Generator().manual_seed(0))
    for _ in range(20):
        batch = next(source)
        wanted, reference = batch.latents[:, :, 0, 0, 0], batch.reference[:, :, 0, 0, 0]
        for row, other in zip(wanted, reference, strict=True):
            assert not set(row.tolist()) & set(other.tolist())
        dropped = (batch.heard == 0).flatten(1).all(1)
        assert ((batch.heard == 1).flatten(1).all(1) | dropped).all()


def test_the_input_has_the_methods_order() -> None:
    noisy = torch.full((1, 2, 3, 4, 4), 1.0)
    masked, reference = torch.full((1, 3, 2, 4, 4), 3.0), torch.full((1, 3, 2, 4, 4), 4.0)
    made = assemble(noisy, torch.full((4, 4), 2.0), masked, reference)
    assert made[0, :, 0, 0, 0].tolist() == [1, 1, 2, 3, 3, 4, 4]


def test_the_region_holds_every_touched_cell_and_its_neighbours() -> None:
    mask = torch.zeros(64, 64)
    mask[17, 40] = 1  # cell (1, 2) of 4 × 4
    assert region_of(mask, 16).nonzero().tolist() == [[r, c] for r in (0, 1, 2) for c in (1, 2, 3)]


def test_every_loss_reaches_the_unet_and_pixels_go_through_the_frozen_decoder(prepared: Path) -> None:
    torch.manual_seed(0)
    autoencoder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8, 8))).requires_grad_(False)
    unet = small_unet()
    task = UNetTask(unet, autoencoder, torch.Generator().manual_seed(0), pixel_weight=1.0)
    terms = task.loss(next(batches(examples(prepared), 2, 4, torch.Generator().manual_seed(0))))
    assert set(terms) == {"mse", "l1", "motion", "movement", "pixels"}
    for term in terms.values():
        unet.zero_grad()
        term.backward(retain_graph=True)
        assert unet.conv_out.weight.grad is not None
        assert unet.conv_out.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in autoencoder.parameters())
