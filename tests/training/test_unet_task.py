"""The U-Net's task: what it is shown, what reaches what, how it starts, is judged and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.faces import inpaint_mask
from latentsync.models import UNet
from latentsync.training.datasets import TrainingData, open_data
from latentsync.training.tasks.unet import task as unet_task
from latentsync.training.tasks.unet.objective import choose_trainable
from latentsync.training.tasks.unet.task import UNetTask, build, reference_starts
from latentsync.training.tasks.unet.validate import Driven, measured, warnings_of
from micro_model import AUDIO_ENCODER, UNET

SYNCNET = {
    "class": "SyncNet",
    "num_frames": 4,
    "resolution": 64,
    "audio_encoder": {"in_channels": 1, "block_out_channels": [32, 32], "downsample_factors": [[10, 2], [8, 7]]},
    "visual_encoder": {"in_channels": 12, "block_out_channels": [32, 32], "downsample_factors": [[4, 8], 8]},
}
SETTINGS: dict[str, Any] = {
    "unet": UNET,
    "resolution": 64,
    "num_frames": 4,
    "components": {
        "autoencoder": {"class": "TinyAutoencoder", "latent_channels": 4, "widths": [8, 8]},
        "audio_encoder": {"class": "AudioEncoder", **AUDIO_ENCODER},
    },
    "check": {"clips": 1, "steps": 1, "chunks": 2, "track_lips": False, "levels": [0.5]},
}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Ann, Bob (too short) and Cleo (held out): colours that say which frame they are, noise for speech."""
    rng = np.random.default_rng(0)
    for name, split, frames in (("ann", "train", 26), ("bob", "train", 11), ("cleo", "val", 14)):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        crops = rng.integers(0, 256, (1, 64, 64, 3)) // 2 + np.arange(frames)[:, None, None, None]
        np.save(folder / "crops.npy", crops.astype(np.uint8))
        np.save(folder / "mesh.npy", np.zeros((frames, 468, 2), np.float32))
        np.save(folder / "wave.npy", rng.normal(0, 0.1, 640 * frames).astype(np.float32))
        (folder / "meta.json").write_text(json.dumps({"person": name, "split": split, "in_sync": True, "fps": 25}))
    return open_data([tmp_path / "clips"], cache=tmp_path / "cache")


def batch_of(task: UNetTask, *numbers: int) -> dict[str, torch.Tensor]:
    examples = [task.example(n) for n in numbers]
    return {key: torch.stack([e[key] for e in examples]) for key in examples[0]}


# --- examples --------------------------------------------------------------------------------------------------------


def test_an_example_is_a_function_of_its_number_and_references_never_overlap(data: TrainingData) -> None:
    task, again = build(SETTINGS, data, seed=3), build(SETTINGS, data, seed=3)
    assert [clip.person for clip in task.train] == ["ann"], "Bob's 11 frames are under three windows of 4"
    first = task.crops(next(iter(task.train)))[0].astype(int)
    for number in range(20):
        one, two = task.example(number), again.example(number)
        assert all(torch.equal(one[key], two[key]) for key in one)
        start, other = (int(one[name][0].permute(1, 2, 0).numpy().astype(int).ravel()[0] - first.ravel()[0])
                        for name in ("target", "reference"))  # fmt: skip
        assert abs(start - other) >= 4
    assert not torch.equal(task.example(0)["seed"], build(SETTINGS, data, seed=4).example(0)["seed"])


def test_every_allowed_reference_is_met() -> None:
    assert reference_starts(5, 16, 48).tolist() == list(range(21, 33))
    assert reference_starts(16, 16, 48).tolist() == [0, 32]


def test_what_is_heard_is_what_the_pipeline_hears(data: TrainingData) -> None:
    from fractions import Fraction

    task = build(SETTINGS, data)
    clip = next(iter(task.train))
    audio_encoder = StreamingAudioEncoder(task.audio_encoder)
    times = [Fraction(i, 25) for i in range(20)]
    theirs = torch.stack(list(audio_encoder.windows(sound_of(np.array(clip.wave)), times)))
    assert torch.allclose(task.audio_features(clip, 6, 4), theirs[6:10], atol=2e-3)  # kept in 16 bits


# --- losses ----------------------------------------------------------------------------------------------------------


def test_every_loss_reaches_what_is_trained_and_nothing_else(data: TrainingData) -> None:
    settings = SETTINGS | {
        "weights": {"reconstruction": 1.0, "sync": 0.05, "perceptual": 0.1, "trepa": 10.0},
        "trainable": ["motion_modules.", "attentions."],
        "components": SETTINGS["components"] | {"syncnet": SYNCNET},
    }
    objective = build(settings, data).objective
    terms = objective(batch_of(build(settings, data), 0, 1))
    assert set(terms) == {"reconstruction", "sync", "perceptual", "trepa"}
    trained = {name for name, p in objective.network.named_parameters() if p.requires_grad}
    assert trained == {
        n for n, _ in objective.network.named_parameters() if "motion_modules." in n or "attentions." in n
    }
    for name, term in terms.items():
        objective.zero_grad()
        term.backward(retain_graph=True)
        for part in ("motion_modules", "attn2.to_k"):
            reached = [p.grad for n, p in objective.network.named_parameters() if part in n]
            assert all(grad is not None and float(grad.abs().max()) > 0 for grad in reached), (name, part)
        frozen = [p for n, p in objective.network.named_parameters() if n not in trained]
        frozen += [p for part in ("autoencoder", "sync") for p in objective.consulted(part).parameters()]
        assert all(p.grad is None for p in frozen)


def test_a_step_follows_from_the_seeds_and_not_from_who_shares_it(data: TrainingData) -> None:
    task = build(SETTINGS, data)
    together = float(task.objective(batch_of(task, 0, 1))["reconstruction"].detach())
    alone = [float(task.objective(batch_of(task, n))["reconstruction"].detach()) for n in (0, 1)]
    assert together == pytest.approx(sum(alone) / 2, rel=1e-4)
    assert float(task.objective(batch_of(task, 0))["reconstruction"].detach()) == pytest.approx(alone[0], rel=1e-6)


def test_gradient_checkpointing_changes_memory_only(data: TrainingData) -> None:
    settings = SETTINGS | {"weights": {"perceptual": 1.0}}
    found = []
    for is_on in (True, False):
        task = build(settings | {"gradient_checkpointing": is_on}, data)
        sum(task.objective(batch_of(task, 0)).values()).backward()  # type: ignore[union-attr]
        found.append(task.objective.unet.conv_out.weight.grad)
    assert torch.allclose(found[0], found[1], atol=1e-6)  # type: ignore[arg-type]


def test_a_dropped_example_hears_nothing(data: TrainingData) -> None:
    task = build(SETTINGS | {"condition_dropout": 0.5}, data)
    dropped = 0
    for number in range(12):
        batch = batch_of(task, number)
        loud = batch | {"audio_features": batch["audio_features"] + 5}
        values = [float(task.objective(b)["reconstruction"].detach()) for b in (batch, loud)]
        dropped += values[0] == values[1]
    assert 2 <= dropped <= 10


# --- presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "trained", "weights"),
    [
        ("stage1", 849_962_244, (1, 0, 0, 0)),
        ("stage2", 674_792_320, (1, 0.05, 0.1, 10)),
        ("stage2_efficient", 284_660_480, (1, 0.05, 0.1, 0)),
        ("stage1_512", 849_962_244, (1, 0, 0, 0)),
        ("stage2_512", 674_792_320, (1, 0.05, 0.1, 10)),
    ],
)
def test_the_presets_train_what_the_released_ones_do(name: str, trained: int, weights: tuple[float, ...]) -> None:
    from latentsync.training.engine.registry import recipe
    from latentsync.training.tasks.unet.settings import UNetSettings

    made = recipe("unet", name)
    settings, loop = UNetSettings.from_mapping(made.task), made.loop
    w = settings.weights
    assert (w.reconstruction, w.sync, w.perceptual, w.trepa) == weights
    assert (loop.learning_rate, loop.batch_size, loop.seed, loop.warmup_steps) == (1e-5, 1, 1247, 0)
    assert (loop.weight_decay, loop.betas, loop.clip_norm, loop.ema) == (0.01, (0.9, 0.999), 1.0, None)
    assert settings.mixed_noise_alpha == 1 and settings.num_frames == 16 and loop.schedule == "constant"
    assert settings.resolution == (512 if name.endswith("512") else 256)
    with torch.device("meta"):
        unet = UNet.from_config(load_preset(str(settings.unet), "unet")["model"])  # type: ignore[arg-type]
    assert choose_trainable(unet, settings.trainable) == trained  # docs/method.md#training-stages


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"sync": 0.05}}, "latentsync train syncnet"),
        ({"weights": {"trepa": 10.0}}, "task.components.videomae"),
        ({"weights": {"snyc": 1}}, "did you mean sync"),
        ({"trainable": ["motoin"]}, "no parameter of this U-Net"),
        ({"resolution": 128}, "Prepare larger crops"),
        ({"components": {}}, "task.components.autoencoder"),
        ({"unet": UNET | {"in_channels": 9}}, "needs 13 → 4"),
        ({"unet": UNET | {"cross_attention_dim": 16}}, "audio encoder gives 8"),
        ({"components": SETTINGS["components"] | {"vgg": "vgg.pth"}, "weights": {"perceptual": 1}}, "needs both"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_line(
    data: TrainingData, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        build(SETTINGS | changes, data).example(0)
    assert "\n" not in str(caught.value)


# --- starts ----------------------------------------------------------------------------------------------------------


def unet_of(**changes: Any) -> UNet:
    torch.manual_seed(1)
    return UNet.from_config(UNET | changes)


def test_stage_2_begins_as_the_stage_1_checkpoint_it_starts_from(data: TrainingData, tmp_path: Path) -> None:
    before = unet_of(use_motion_module=False)
    torch.save({"global_step": 7, "state_dict": before.state_dict()}, tmp_path / "checkpoint-7.pt")
    second = UNET | {"motion_module_kwargs": {"num_attention_heads": 2, "zero_initialize": True}}
    after = build(SETTINGS | {"unet": second}, data, start=tmp_path / "checkpoint-7.pt").objective.unet
    x, audio_features = torch.randn(1, 13, 4, 8, 8), torch.randn(1, 4, 10, 8)
    assert after.config.use_motion_module
    assert torch.allclose(after(x, 5, audio_features), before(x, 5, audio_features), atol=1e-5)


def test_a_released_file_and_a_component_start_the_network_they_hold(data: TrainingData, tmp_path: Path) -> None:
    full = unet_of()
    torch.save({"state_dict": full.state_dict()}, tmp_path / "latentsync_unet.pt")
    task = build(SETTINGS, data, start=tmp_path / "latentsync_unet.pt")
    assert torch.equal(task.objective.unet.conv_in.weight, full.conv_in.weight)
    task.export(task.objective.network, tmp_path / "component")
    other = build(SETTINGS | {"unet": None}, data, start=tmp_path / "component", seed=9)
    assert torch.equal(other.objective.unet.conv_in.weight, full.conv_in.weight)
    with pytest.raises(WeightsError, match="doesn't fit"):
        build(SETTINGS | {"unet": UNET | {"use_motion_module": False}}, data, start=tmp_path / "latentsync_unet.pt")


def test_stable_diffusion_weights_start_a_stage_1(data: TrainingData, tmp_path: Path) -> None:
    sd = unet_of(in_channels=4, cross_attention_dim=12, use_motion_module=False)
    torch.save(sd.state_dict(), tmp_path / "sd.pt")
    first = UNET | {"use_motion_module": False}
    unet = build(SETTINGS | {"unet": first}, data, start=tmp_path / "sd.pt").objective.unet
    assert torch.equal(unet.mid_block.resnets[0].conv1.weight, sd.mid_block.resnets[0].conv1.weight)  # type: ignore
    assert torch.equal(unet.conv_in.weight[:, :4], sd.conv_in.weight) and not unet.conv_in.weight[:, 4:].any()


def test_references_with_moved_lips_begin_from_the_most_closed_mouth_outside_the_window(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the lip predictor tells is the way from a closed mouth; from an open one lips would open twice."""
    task = build({"resolution": 64, "check": SETTINGS["check"]}, data, start="tiny")
    clip = next(iter(data.train))
    given: list[Any] = []

    def posed(stills: Any, still_meshes: Any, meshes: Any, look: Any, change: Any) -> Any:
        given.append((still_meshes, change))
        return np.zeros((len(meshes), *stills.shape), np.uint8)

    opening = np.random.default_rng(0).random(len(clip.mesh))
    opening[[9, 20, 3]] = -1, 0, 2  # the most closed mouth lies in the window
    monkeypatch.setattr(unet_task, "augmented_references", posed)
    monkeypatch.setattr(unet_task, "lip_opening", lambda meshes: opening[: len(meshes)])
    task.window(clip, 8, 20)
    ((meshes, change),) = given
    np.testing.assert_array_equal(meshes, task.meshes(clip)[[20, 3]])
    assert change.shape == (8, 80) and np.abs(change).max() > 0


def test_a_whole_model_brings_its_own_autoencoder_and_audio_encoder(data: TrainingData) -> None:
    with pytest.raises(ConfigError, match="Prepare larger crops"):
        build({"check": SETTINGS["check"]}, data, start="tiny").example(0)
    task = build({"resolution": 64, "check": SETTINGS["check"]}, data, start="tiny")
    assert task.model.sampler.prediction == "x0" and task.model.num_frames == 8
    assert type(task.objective.autoencoder).__name__ == "TinyAutoencoder" and task.model.position_code
    assert task.model.tiny is not None and task.model.tiny.window == (
        1,
        4,
        0,
        3,
    )  # of 4 x 4 cells, as 6 to 16 and 2 to 14 of 16 x 16
    example = task.example(0)
    assert example["open"].shape == example["reference"].shape == (8, 3, 64, 64)  # posed: each frame has its own
    terms = task.objective({key: value[None] for key, value in example.items()})
    assert torch.isfinite(terms["reconstruction"])
    validation_result = task.validate(task.objective.network)
    assert np.isfinite(validation_result.figures["val/error_own"])


# --- judging and writing ---------------------------------------------------------------------------------------------


def test_validation_gives_figures_a_strip_and_a_clip_and_changes_nothing(data: TrainingData) -> None:
    task = build(SETTINGS, data)
    task.objective.train()
    validation_result, again = task.validate(task.objective.network), task.validate(task.objective.network)
    assert validation_result.figures == again.figures and task.score[0] in validation_result.figures
    assert all(np.isfinite(value) for value in validation_result.figures.values())
    assert (
        validation_result.clips["driven"].shape == (8, 64, 128, 3)
        and validation_result.pictures["mouths"].dtype == np.uint8
    )
    assert task.objective.network.training


def film(seed: int, frames: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("right", None),
        ("grey", "as grey as the masked input"),
        ("dark", "differs in colour by"),
        ("still", "hardly moves"),
        ("copy", "that of the reference"),
        ("dropped", "does not listen"),
    ],
)
def test_each_failure_is_told_apart_in_plain_words(made: str, said: str | None) -> None:
    real, reference = film(0), film(1)
    pictures = {
        "right": film(2),
        "grey": np.full_like(real, 0.5) + 0.1 * (film(2) - 0.5),
        "dark": 0.8 * film(2),
        "still": np.broadcast_to(film(2)[:1], real.shape),
        "copy": reference + 0.02,
        "dropped": film(2),
    }
    driven = Driven(real=real, made=pictures[made], reference=reference)
    figures = measured([driven], inpaint_mask(64)) | {"listening": 0.0 if made == "dropped" else 0.2}
    warnings = warnings_of(figures)
    if said is None:
        assert warnings == []
    else:
        assert any(said in warning for warning in warnings)


def test_the_component_is_what_the_pipeline_loads(data: TrainingData, tmp_path: Path) -> None:
    task = build(SETTINGS, data)
    task.export(task.objective.network, tmp_path)
    unet = UNet.from_config(json.loads((tmp_path / "config.json").read_text()))
    unet.load_state_dict(load_file(tmp_path / "model.safetensors"))
    described = json.loads((tmp_path / "settings.json").read_text())
    assert (described["resolution"], described["num_frames"], described["scheduler"], described["prediction"]) == (
        64,
        4,
        "ddim",
        "epsilon",
    )


def test_clips_that_are_all_too_short_are_an_error(data: TrainingData) -> None:
    with pytest.raises(LatentSyncError, match="too short"):
        build(SETTINGS | {"num_frames": 12}, data)
