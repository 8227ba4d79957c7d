"""Few-step training: the objective's terms, the discriminator, the code of lips, the warm-up of hearing, a run of the
task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_unet_parts import (
    LIP_PREDICTOR,
    SETTINGS,
    audio_encoder,
    batch_of,
    objective,
    talking_mesh,
    windows,
    write_people,
)

from latentsync.core.errors import ConfigError
from latentsync.diffusion.noise import noise_like, uniform_like
from latentsync.faces import topology as mesh
from latentsync.generation.conditioning import generated_cells
from latentsync.models import UNet
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.training.datasets import SoundRange, TrainingData, open_data
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.clip_files import load_clips
from latentsync.training.datasets.lip_parameters import LipParameterBasis, WarmUpConfig, lip_shape, mirrored, teach
from latentsync.training.engine.components import Start, build_unet
from latentsync.training.losses.discriminator import Discriminator, discriminator_terms, feature_distance
from latentsync.training.tasks.tiny_unet import task as few_step
from latentsync.training.tasks.tiny_unet.lip_probe import LipProbe, LipProbeConfig, teach_reader
from latentsync.training.tasks.tiny_unet.objective import FewStepConfig
from latentsync.training.tasks.tiny_unet.validate import references_of


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    return write_people(tmp_path)


def test_noise_belongs_to_the_seed_and_not_to_the_row() -> None:
    seeds = torch.tensor([5, 9, 5])
    noise = noise_like(seeds, (2, 3))
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise_like(seeds, (2, 3), stream=1)[0])
    assert torch.equal(uniform_like(seeds)[0], uniform_like(seeds.flip(0))[0])


def test_a_network_that_gives_nothing_leaves_the_reference(data: TrainingData) -> None:
    task = objective(FewStepConfig(residual=True, movement_weight=2.0))
    torch.nn.init.zeros_(task.network.conv_out.weight)  # type: ignore[union-attr, arg-type]
    torch.nn.init.zeros_(task.network.conv_out.bias)  # type: ignore[union-attr, arg-type]
    batch = batch_of(windows(data), 0, 1)
    terms = task(batch)
    target, _, reference = task.latents_of(batch)
    error = (reference - target).transpose(1, 2)
    assert terms["mse"].item() == pytest.approx(float((error**2 * task.weight).mean()), rel=1e-4)
    centred = error - error.mean(2, keepdim=True)
    assert terms["movement"].item() == pytest.approx(2 * float((centred**2 * task.weight).mean()), rel=1e-4)


def test_a_start_with_one_reference_less_begins_as_if_it_did_not_see_the_new_one() -> None:
    old = UNet.from_config(LIP_PREDICTOR)
    new = build_unet(LIP_PREDICTOR | {"in_channels": 17}, Start(name="old", state=old.state_dict()), 0)
    sample, states = torch.randn(1, 17, 2, 8, 8), torch.randn(1, 2, 10, 8)
    torch.testing.assert_close(new(sample, 1000.0, states), old(sample[:, :13], 1000.0, states))


def test_a_start_that_does_not_mix_its_references_begins_as_if_the_new_one_did_not() -> None:
    old = UNet.from_config(LIP_PREDICTOR)
    new = build_unet(
        LIP_PREDICTOR | {"in_channels": 17, "out_channels": 5}, Start(name="old", state=old.state_dict()), 0
    )
    sample, states = torch.randn(1, 17, 2, 8, 8), torch.randn(1, 2, 10, 8)
    answer = new(sample, 1000.0, states)
    torch.testing.assert_close(answer[:, :4], old(sample[:, :13], 1000.0, states))
    assert not answer[:, 4:].any()


def test_a_network_that_mixes_learns_to_from_the_first_step_and_wants_two_references(data: TrainingData) -> None:
    unet = UNet.from_config(LIP_PREDICTOR | {"in_channels": 17, "out_channels": 5})
    torch.nn.init.zeros_(unet.conv_out.weight)
    task = objective(FewStepConfig(open_reference=True, condition_dropout=0.0), unet)
    sum(task(batch_of(windows(data, open_reference=True), 0, 1)).values()).backward()  # type: ignore[union-attr]
    gradient = unet.conv_out.weight.grad
    assert gradient is not None
    assert float(gradient[4:].abs().max()) > 0
    with pytest.raises(ConfigError, match="open_reference"):
        objective(FewStepConfig(), unet)


@pytest.mark.parametrize("values", [{"audio_shuffle_prob": 0.5}, {"audio_shuffle_prob": 1.5, "teacher_forcing": 1.0}])
def test_overhearing_wants_a_told_code(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="audio_shuffle_prob"):
        FewStepConfig(**values)  # type: ignore[arg-type]


class Overheard(torch.nn.Module):
    """Gives nothing and remembers what attention was given."""

    def __init__(self, like: UNet) -> None:
        super().__init__()
        self.config, self.lip_predictor, self.audio_features = like.config, like.lip_predictor, torch.zeros(())
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, sample: torch.Tensor, _: object, states: torch.Tensor, code: object = None) -> torch.Tensor:
        self.audio_features = states
        return self.weight * sample[:, : self.config.out_channels]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_attention_may_hear_the_sample_before_while_the_code_is_told(data: TrainingData, share: float) -> None:
    unet = Overheard(UNet.from_config(LIP_PREDICTOR))
    config = FewStepConfig(
        teacher_forcing=1.0, audio_shuffle_prob=share, condition_dropout=0.0, audio_feature_noise=0.0
    )
    task = objective(config, unet)  # type: ignore[arg-type]
    batch = batch_of(windows(data), 0, 1, 2)
    batch |= {"code": torch.zeros(3, 4, 3), "in_sync": torch.ones(3, dtype=torch.bool)}
    task(batch)
    audio_features = batch["audio_features"].float()
    assert torch.equal(unet.audio_features, audio_features.roll(1, 0) if share else audio_features)


def test_latents_made_by_the_loader_are_taken(data: TrainingData) -> None:
    task = objective(FewStepConfig())
    batch = batch_of(windows(data), 4)
    target, masked, reference = task.latents_of(batch)
    ready = batch | {"target_latents": target, "masked_latents": masked, "reference_latents": reference[:, :1]}
    given, made = task(ready), task(batch)
    assert all(torch.allclose(given[name], made[name], rtol=1e-4) for name in made)


def test_gradients_reach_the_lip_predictor_and_not_the_autoencoder(data: TrainingData) -> None:
    task = objective(FewStepConfig(pixel_weight=1.0, pixel_frames=2, condition_dropout=0.0))
    terms = task(batch_of(windows(data), 0, 1))
    assert set(terms) == {"mse", "l1", "motion", "movement", "pixels", "lips"}
    sum(terms.values()).backward()  # type: ignore[union-attr]
    lip_predictor = task.network.lip_predictor.to_map.weight.grad  # type: ignore[union-attr]
    assert lip_predictor is not None and float(lip_predictor.abs().max()) > 0  # type: ignore[union-attr, operator, arg-type]
    assert all(p.grad is None for p in task.autoencoder.parameters())
    assert not any(name.startswith("autoencoder") for name, _ in task.named_parameters())


def test_what_differs_by_noise_is_to_be_left_and_what_moves_is_to_be_drawn() -> None:
    task = objective(FewStepConfig(noise_floor=(0.05, 0.1)))
    difference = torch.zeros(1, 2, 4, 10, 12)
    difference[:, :, :, :3] = 0.04**0.5  # camera noise
    difference[:, 1, :, 6:] = 1.0  # a mouth that opens in the second frame
    moves = task.movement(difference)
    assert moves.shape == (1, 2, 1, 10, 12)
    assert float(moves[0, 0].max()) == 0
    assert float(moves[0, 1, 0, :4].max()) == 0
    assert float(moves[0, 1, 0, 7:].min()) == 1
    everywhere = objective(FewStepConfig()).movement(difference)
    assert float(everywhere.min()) == 1


@pytest.mark.parametrize("name", ["discriminator_weight", "perceptual_weight", "spread_weight"])
def test_what_looks_at_pixels_is_refused_without_them(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*pixel_weight"):
        FewStepConfig.from_mapping({name: 0.1})
    FewStepConfig.from_mapping({name: 0.1, "pixel_weight": 1.0, "pixel_frames": 1})


def test_the_region_covers_the_mask_and_its_neighbours() -> None:
    mask = torch.zeros(64, 64)
    mask[20, 20] = 1
    region = generated_cells(mask, 16)
    assert region.sum() == 9
    assert region[1, 1] == 1


def test_the_discriminator_learns_to_tell_sharp_from_blurred() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(widths=(8, 16, 16, 16))
    sharp = torch.rand(6, 3, 64, 64) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, stride=1, padding=2)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        terms = discriminator_terms(discriminator, sharp, blurred)
        losses.append(float(sum(terms.values()).detach()))  # type: ignore[union-attr]
        optimiser.zero_grad()
        sum(terms.values()).backward()  # type: ignore[union-attr]
        optimiser.step()
    assert losses[0] > 1.5
    assert losses[-1] < 0.5
    features = discriminator(sharp)[1]
    assert feature_distance(features, features).item() == 0
    assert feature_distance(discriminator(blurred)[1], features).item() > 0.05


def test_the_shape_of_lips_does_not_change_with_the_heads_place_and_size() -> None:
    points = talking_mesh(np.array([0.0, 0.5, 1.0]))
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    moved = points @ turn.T * 1.7 + (11, -4)
    assert np.allclose(lip_shape(points), lip_shape(moved), atol=1e-4)
    assert np.abs(np.diff(lip_shape(points), axis=0)).max() == pytest.approx(0.1, abs=1e-6)  # 10 px of 100


def nodding(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(F, 468, 2): lips and nose ridge go up and down together, as in a nod; the lower lip also on its own."""
    points = np.repeat(rng.uniform(60, 200, (1, 468, 2)), frames, axis=0)
    points[:, mesh.LEFT_EYE_OUTER], points[:, mesh.RIGHT_EYE_OUTER] = (78, 100), (178, 100)
    nod, opening = rng.normal(0, 4, (2, frames))
    for ridge in (4, 5, 195):
        points[:, ridge, 1] += nod
    for lip in mesh.LIPS:
        points[:, lip, 1] += 2 * nod
    for _, lower in mesh.INNER_LIP_PAIRS:
        points[:, lower, 1] += opening
    return points


def test_the_code_of_lips_leaves_nodding_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "nodding"
    folder.mkdir()
    moving = nodding(rng, 60)
    np.save(folder / "mesh.npy", moving.astype(np.float32))
    np.save(folder / "crops.npy", np.zeros((60, 8, 8, 3), np.uint8))
    np.save(folder / "wave.npy", np.zeros(60 * 640, np.float32))
    (folder / "meta.json").write_text('{"person": "ann", "split": "train", "in_sync": true}')
    clip = next(iter(load_clips(tmp_path, "train")))
    lips = LipParameterBasis([clip], 2)
    lower, upper = mesh.INNER_LIP_PAIRS[0][1], mesh.INNER_LIP_PAIRS[0][0]
    opening = moving[:, lower, 1] - moving[:, upper, 1]
    assert abs(np.corrcoef(lips(clip)[:, 0], opening)[0, 1]) > 0.95
    assert np.corrcoef(lips.opening(lips(clip)), opening)[0, 1] > 0.95
    by_chance = np.corrcoef(opening, moving[:, 4, 1])[0, 1]
    assert abs(np.corrcoef(lips.opening(lips(clip)), moving[:, 4, 1])[0, 1] - by_chance) < 0.01
    assert abs(np.corrcoef(lips(clip)[:, 0], moving[:, 4, 1])[0, 1]) < abs(by_chance) + 0.01


def test_the_code_of_lips_keeps_an_opening_that_moves_the_nose(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moving = nodding(rng, 60)
    opening = moving[:, mesh.INNER_LIP_PAIRS[0][1], 1] - moving[:, mesh.INNER_LIP_PAIRS[0][0], 1]
    moving[:, [4, 5, 195], 1] += 0.5 * opening[:, None]  # as a tracker does
    folder = tmp_path / "nodding"
    folder.mkdir()
    np.save(folder / "mesh.npy", moving.astype(np.float32))
    np.save(folder / "crops.npy", np.zeros((60, 8, 8, 3), np.uint8))
    np.save(folder / "wave.npy", np.zeros(60 * 640, np.float32))
    (folder / "meta.json").write_text('{"person": "ann", "split": "train", "in_sync": true}')
    clip = next(iter(load_clips(tmp_path, "train")))
    lips = LipParameterBasis([clip], 2)
    assert np.corrcoef(lips.opening(lips(clip)), opening)[0, 1] > 0.99


def test_mirrored_points_are_those_of_the_mirrored_picture() -> None:
    for order, points in ((mesh.MIRRORED_LIPS, mesh.LIPS), (mesh.MIRRORED_RIGID, mesh.RIGID)):
        assert sorted(order) == list(range(len(points)))
        assert all(order[order[i]] == i for i in range(len(points)))
    values = torch.randn(3, 80)
    assert torch.equal(mirrored(mirrored(values, mesh.MIRRORED_LIPS), mesh.MIRRORED_LIPS), values)


def test_the_network_draws_the_mouth_it_is_told() -> None:
    torch.manual_seed(0)
    network = UNet.from_config(LIP_PREDICTOR).eval()
    sample, states = torch.randn(1, 13, 2, 8, 8), torch.randn(1, 2, 10, 8)
    own = network.lip_predictor.code(states.flatten(0, 1).flatten(1)).unflatten(0, (1, 2))
    with torch.no_grad():
        audio_features, predicted = network(sample, 1000.0, states), network(sample, 1000.0, states, code=own)
        other = network(sample, 1000.0, states, code=own + 1)
    torch.testing.assert_close(predicted, audio_features)
    assert float((other - audio_features).abs().max()) > 1e-3


def test_clips_out_of_sync_are_told_and_not_heard(data: TrainingData, tmp_path: Path) -> None:
    meta = tmp_path / "clips" / "bob" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"in_sync": False}))
    again = open_data([tmp_path / "clips"], cache=tmp_path / "fresh")
    settings = SETTINGS | {"few_step": {"teacher_forcing": 0.001, "lip_param_noise": 0.0}}
    task = few_step.build(settings, again, seed=0)
    found = [task.example(number) for number in range(12)]
    out = [each for each in found if not each["in_sync"]]
    assert 0 < len(out) < 12
    assert all(float(each["audio_features"].abs().max()) == 0 for each in out)
    objective = task.objectives[0]
    for each in found:
        batch = {key: value[None] for key, value in each.items()}
        predicted = objective.predicted(batch, batch["audio_features"].float())
        is_real = torch.equal(predicted, batch["code"])
        assert is_real == (not each["in_sync"])
    assert [c.person for c in few_step.build(SETTINGS | {"few_step": {}}, again, seed=0).windows.clips] == ["ann"]


def test_the_reader_reads_lips_off_latents(data: TrainingData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    coder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8, 8)))
    for clip in data.train:  # a dark bar, as high as the mouth is open
        crops = np.full((40, 256, 256, 3), 200, np.uint8)
        gaps = (clip.mesh[:, mesh.INNER_LIP_PAIRS[0][1], 1] - 180) * 3
        for crop, gap in zip(crops, gaps, strict=True):
            crop[180 - int(gap / 2) : 180 + int(gap / 2), 100:156] = 20
        np.save(clip.path / "crops.npy", crops)
    clips = list(open_data([tmp_path / "clips"], cache=tmp_path / "fresh").train)
    reader = LipProbe(4, width=8)
    config = LipProbeConfig(steps=200, every=1, noise=0.0, dropout=0.0, weight_decay=0.0)
    figures = teach_reader(reader, clips, clips, coder, LipParameterBasis(clips, 10), None, 0, config)
    assert figures["r_0"] > 0.9
    assert 0.7 < figures["strength_0"] < 1.3


@pytest.mark.parametrize("name", ["steps", "every", "looks"])
def test_a_reader_that_would_see_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"task.reader.{name}"):
        LipProbeConfig(**{name: 0})


class Loudness(ClipAudioFeatures):
    """Hears how loud each half frame is, and nothing else: 10 tokens of 8 numbers, about a second of it."""

    def __call__(self, clip: Any, change: int = 0) -> torch.Tensor:
        levels = np.log(np.square(clip.wave.reshape(-1, 320)).mean(axis=1) + 1e-4)
        around = np.arange(len(clip.crops))[:, None] * 2 + np.arange(-4, 6)
        audio_features = levels[around.clip(0, len(levels) - 1)][:, :, None] * np.linspace(-1, 1, 8)
        return torch.from_numpy(audio_features).half()

    def silence(self, frames: int = 75) -> torch.Tensor:
        return torch.from_numpy(np.log(1e-4) * np.linspace(-1, 1, 8) * np.ones((frames, 10, 8))).half()


def test_the_lip_predictor_learns_the_lips_from_loudness(data: TrainingData) -> None:
    hearing = Loudness(audio_encoder(), data.cache, SoundRange())
    torch.manual_seed(0)
    lip_predictor = UNet.from_config(LIP_PREDICTOR).lip_predictor
    config = WarmUpConfig(steps=300, learning_rate=5e-3, dropout=0.0, noise=0.0)
    clips = list(data.train)
    lips = LipParameterBasis(clips, lip_predictor.head.out_features)
    figures = teach(lip_predictor, clips, lips, hearing, 1, 0, config, data.val)
    assert figures["r_train"] > 0.9
    assert figures["r_held_out"] > 0.8
    predicted = lips.opening(lip_predictor.code(hearing.silence().flatten(1).float())).detach()
    assert float(predicted.max()) < float(torch.cat([lips.opening(lips(clip)) for clip in clips]).quantile(0.2))


def test_the_task_learns_is_judged_and_exported(data: TrainingData, tmp_path: Path) -> None:
    task = few_step.build(SETTINGS, data, seed=0)
    generator, discriminator = task.objectives
    optimisers = [torch.optim.Adam(each.network.parameters(), lr=2e-3) for each in task.objectives]
    totals = []
    for step in range(6):
        batch = {key: torch.stack([task.example(2 * (step % 2) + j)[key] for j in (0, 1)]) for key in task.example(0)}
        for each, optimiser in zip((generator, discriminator), optimisers, strict=True):
            terms = each(batch)
            optimiser.zero_grad()
            sum(terms.values()).backward()
            optimiser.step()
            if each is generator:
                assert {"discriminator", "features", "shape"} <= set(terms)
                totals.append(float(terms["mse"].detach()))
            else:
                assert {"real", "fake"} == set(terms)
    assert sum(totals[-2:]) < sum(totals[:2])
    batch["code"] = batch["code"] * 0 + 3  # the wrong mouth, told in some samples
    assert float(generator(batch)["mse"].detach()) != pytest.approx(totals[-1], rel=1e-6)
    task.export(generator.network, tmp_path / "out")
    again = few_step.build(SETTINGS, data, start=tmp_path / "out", seed=0)
    for key, value in again.objectives[0].network.state_dict().items():
        assert torch.equal(value, generator.network.state_dict()[key])


def test_settings_that_are_not_known_are_refused(data: TrainingData) -> None:
    with pytest.raises(ConfigError, match="drive"):
        few_step.build(SETTINGS | {"drive": 3}, data)
    for key in ("reader", "warm_up"):
        with pytest.raises(ConfigError, match=f"task.{key}.step"):
            few_step.build(SETTINGS | {key: {"step": 3}}, data)
    for key, value in (("half_open", 7), ("around", "0.5"), ("wide", -1), ("closed_still", True)):
        with pytest.raises(ConfigError, match=f"task.{key}"):
            few_step.build(SETTINGS | {key: value}, data)


def test_shares_without_effect_are_refused(data: TrainingData) -> None:
    one_still = {"teacher_forcing": 1.0}
    for few, key, missing in (
        ({}, "wide", "teacher_forcing"),
        ({}, "half_open", "teacher_forcing"),
        (one_still, "half_open", "open_ref"),
    ):
        with pytest.raises(ConfigError, match=f"task.{key}.*{missing}"):
            few_step.build(SETTINGS | {key: 0.5, "few_step": few}, data)
    with pytest.raises(ConfigError, match=r"task\.missing.*shaped_references"):
        few_step.build(SETTINGS | {"missing": 0.3}, data)
    with pytest.raises(ConfigError, match=r"task\.photo.*missing"):
        few_step.build(SETTINGS | {"photo": 0.3}, data)


@pytest.mark.parametrize("values", [{"teacher_forcing": 1.0}, {"teacher_forcing": 0.5, "posed_references": True}])
def test_shaped_references_want_a_told_code_and_posed_ones(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="shaped_references"):
        FewStepConfig(shaped_references=True, **values)


def test_a_network_with_shaped_references_is_told_how_lips_move(data: TrainingData, tmp_path: Path) -> None:
    """From a start that does not know it, too; and it is judged with what its lip predictor tells."""
    old = few_step.build(SETTINGS, data, seed=0)
    old.export(old.objectives[0].network, tmp_path / "old")
    shaped = {"teacher_forcing": 1.0, "posed_references": True, "shaped_references": True}
    with pytest.raises(ConfigError, match="audio_lip_points to 40"):
        few_step.build(SETTINGS | {"few_step": shaped}, data, start=tmp_path / "old")
    unet = LIP_PREDICTOR | {"audio_lip_points": 40}
    task = few_step.build(SETTINGS | {"few_step": shaped, "unet": unet}, data, start=tmp_path / "old")
    network = task.objectives[0].network
    assert task.lips is not None and task.windows.shaped
    code = task.lips(next(iter(data.train)))
    predicted = network.lip_predictor.lips_moved(code)
    torch.testing.assert_close(predicted, code @ task.lips.motion)
    assert float(predicted.abs().max()) > 0.05
    clip = next(iter(data.val))
    meshes, crops = np.asarray(clip.mesh), np.asarray(clip.crops)
    striped = np.zeros_like(crops)
    striped[:, ::4] = 255
    predicted = torch.zeros(len(crops), 3)
    predicted[5:] = 3
    still, moved = (
        references_of(striped, np.arange(len(crops)), task.objectives[0], meshes, each) for each in (None, predicted)
    )
    assert still.shape == moved.shape == (len(crops), 1, 256, 256, 3)
    apart = np.abs(moved.astype(int) - still).mean(axis=(1, 2, 3, 4))
    assert apart[:5].max() < 1 < apart[5:].min()
    task.export(network, tmp_path / "new")
    again = few_step.build(SETTINGS | {"few_step": shaped, "unet": None}, data, start=tmp_path / "new")
    torch.testing.assert_close(again.objectives[0].network.lip_predictor.motion, network.lip_predictor.motion)


def test_settings_of_examples_reach_them(data: TrainingData) -> None:
    two_stills = LIP_PREDICTOR | {"in_channels": LIP_PREDICTOR["in_channels"] + LIP_PREDICTOR["out_channels"]}
    change = {"unet": two_stills, "half_open": 0.6, "around": 1.0, "closed_still": 0.5, "wide": 0.25,
              "few_step": {"teacher_forcing": 1.0, "open_reference": True}}  # fmt: skip
    windows = few_step.build(SETTINGS | change, data).windows
    assert (windows.half_open, windows.around, windows.closed_still, windows.wide) == (0.6, 1.0, 0.5, 0.25)
    assert "surroundings" in windows.example(0)


def test_a_loader_process_encodes_the_surroundings_and_keeps_them(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = few_step.build(SETTINGS | {"around": 1.0}, data)
    plain = task.example(0)
    task.fast_bf16 = False
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: object())
    encoded = task.example(0)
    assert "surroundings" in plain
    assert "surroundings" not in encoded, "pictures that nobody looks at need not travel"
    _, masked, _ = task.objectives[0].latents_of({key: value[None] for key, value in plain.items()})
    torch.testing.assert_close(encoded["masked_latents"].float(), masked[0], atol=5e-3, rtol=5e-3)
    dropped = {key: value for key, value in LIP_PREDICTOR.items() if not key.startswith("audio_code")}
    with pytest.raises(ConfigError, match=r"few_step\.teacher_forcing.*a lip predictor"):
        few_step.build(SETTINGS | {"unet": dropped | {"audio_map_channels": 0}}, data)
