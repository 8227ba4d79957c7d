"""The task `autoencoder`: pieces, terms, judging, statistics, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_clips import write_set

from latentsync.config.loader import preset_names
from latentsync.core.errors import ConfigError
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.training.datasets import TrainingData, open_data
from latentsync.training.engine.components import Start, build_part
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.registry import recipe
from latentsync.training.engine.trainer import Trainer
from latentsync.training.losses.laplacian import laplacian_loss
from latentsync.training.tasks.autoencoder.settings import autoencoder_settings
from latentsync.training.tasks.autoencoder.task import AutoencoderTask, build, latent_statistics, mouth_in

NETWORK = {"latent_channels": 4, "widths": [8, 8], "encoder_blocks": 1, "decoder_blocks": 1}
SETTINGS: dict[str, Any] = {"network": NETWORK, "side": 32, "statistics_crops": 16, "judged_clips": 2}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Four people to learn from, two to be judged on: 64 px, a dark mouth below the middle."""
    return open_data([write_set(tmp_path / "set", clips=1)], tmp_path / "cache")


def batch_of(task: AutoencoderTask, size: int) -> dict[str, torch.Tensor]:
    made = [task.example(number) for number in range(size)]
    return {key: torch.stack([example[key] for example in made]) for key in made[0]}


def test_an_example_is_a_function_of_its_number(data: TrainingData) -> None:
    one, two = build(SETTINGS, data, seed=1), build(SETTINGS, data, seed=1)
    one.example(7)
    a, b = one.example(3), two.example(3)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["pixels"], one.example(4)["pixels"])
    batch = batch_of(one, 12)
    assert batch["pixels"].shape == (12, 3, 32, 32)
    assert batch["pixels"].abs().max() <= 1
    assert batch["pixels"].std() > 0.2


def test_without_changes_a_piece_is_what_was_filmed(data: TrainingData) -> None:
    still = {**SETTINGS, "colour": {"gain": 0, "tint": 0, "offset": 0}, "shrunk": 0}
    piece = build(still, data).example(0)["pixels"]
    bytes_of = ((piece + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    crops = np.concatenate([clip.crops for clip in data.train])
    red = np.lib.stride_tricks.sliding_window_view(crops[..., 0], 32, axis=2)
    for wanted in (bytes_of, bytes_of[:, ::-1]):
        for n, y, x in np.argwhere((red == wanted[0, :, 0]).all(-1)):
            if np.array_equal(crops[n, y : y + 32, x : x + 32], wanted):
                return
    pytest.fail("the piece is in none of the crops")


def test_the_mouth_is_marked_where_it_lies() -> None:
    whole = mouth_in(256, 0, 0, 256, 256)
    assert (np.flatnonzero(whole.any(1))[[0, -1]] == (140, 229)).all()
    assert (np.flatnonzero(whole.any(0))[[0, -1]] == (70, 185)).all()
    assert np.array_equal(mouth_in(256, 100, 40, 128, 128), whole[100:228, 40:168])
    assert not mouth_in(256, 0, 0, 128, 128).any()
    half = mouth_in(256, 0, 0, 256, 128)
    assert abs(half.mean() - whole.mean()) < 0.01


def test_a_heavier_mouth_counts_more_and_the_rest_less() -> None:
    made, real, weight = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    made[..., 8:, :] = torch.tensor([1.0, -1.0]).repeat(8)
    assert torch.allclose(laplacian_loss(made, real, weight), laplacian_loss(made, real))
    weight[..., 8:, :] = 3
    assert torch.allclose(laplacian_loss(made, real, weight), 3 * laplacian_loss(made, real))


def test_every_term_reaches_the_network_and_the_discriminator_learns_from_the_same_pieces(data: TrainingData) -> None:
    settings = {
        **SETTINGS, "side": 32, "discriminator_widths": [8, 8],
        "perceptual": {"class": "TinyAutoencoder", **NETWORK},
        "weights": {"mouth": 3, "perceptual": 1, "discriminator": 0.1, "features": 0.5},
    }  # fmt: skip
    task = build(settings, data)
    generator, discriminator = task.objectives
    batch = batch_of(task, 4)
    terms = generator(batch)
    assert set(terms) == {"l1", "laplacian", "size", "perceptual", "discriminator", "features"}
    first = task.objectives[0].network.encoder[1].weight
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, first, retain_graph=True)
        assert gradient.abs().max() > 0, name
    given = discriminator(batch)
    assert set(given) == {"real", "fake"}
    grads = torch.autograd.grad(sum(given.values()), [p for p in discriminator.parameters() if p.requires_grad])
    assert sum(float(g.abs().sum()) for g in grads) > 0
    assert discriminator.learning_rate_scale == 0.5
    again = generator(batch)
    assert torch.allclose(again["l1"], terms["l1"]), "noise comes from the seeds of the examples"


def test_statistics_standardise_latents(data: TrainingData) -> None:
    torch.manual_seed(0)
    network = TinyAutoencoder.from_config(NETWORK)
    network.set_latent_statistics(*latent_statistics(network, data.train, 400))
    crops = np.concatenate([clip.crops[::6] for clip in data.train])
    with torch.no_grad():
        latents = network.encode(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_a_run_learns_is_judged_and_leaves_a_component_that_can_go_on(data: TrainingData, tmp_path: Path) -> None:
    task = build(SETTINGS, data)
    before = task.validate(task.objectives[0].network).figures
    loop = TrainConfig(steps=120, batch_size=4, learning_rate=5e-3, warmup_steps=5, ema=0.9, tensorboard=False)
    outcome = Trainer(task, loop, tmp_path / "run").run()
    assert outcome.score is not None
    after = task.validate(task.objectives[0].network).figures
    assert after["val/psnr_db"] > before["val/psnr_db"] + 4
    assert outcome.score > before["val/psnr_mouth_db"] + 1.5
    (step,) = (tmp_path / "run" / "pictures").iterdir()
    assert (step / "pairs.png").is_file()
    part = build_part("autoencoder", str(outcome.component), Start(), 0)
    assert isinstance(part, TinyAutoencoder)
    assert part.config.latent_std is not None
    crops = torch.from_numpy(next(iter(data.train)).crops[::10]).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert 0.3 < float(part.encode(crops).std()) < 3
    again = build(SETTINGS, data, start=outcome.component)
    mouth = again.validate(again.objectives[0].network).figures["val/psnr_mouth_db"]
    assert mouth == pytest.approx(outcome.score, abs=0.05)
    with pytest.raises(ConfigError, match="widths"):
        build({**SETTINGS, "network": {**NETWORK, "widths": [8, 16]}}, data, start=outcome.component)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": 36}, "multiple of 8"),
        ({"side": 72}, "multiple of 8 from 8 to the crops' 64"),
        ({"wieghts": {}}, "weights"),
        ({"weights": {"perceptual": 1.0}}, "task.perceptual"),
        ({"weights": {"features": 1.0}}, "weights.discriminator"),
        ({"perceptual": {"vgg": "a.pth"}, "weights": {"perceptual": 1}}, "both files"),
        ({"colour": {"gain": 2}}, "task.colour.gain"),
    ],
)
def test_settings_that_cannot_be_are_refused(data: TrainingData, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build({**SETTINGS, **change}, data)


@pytest.mark.parametrize("name", preset_names("train/autoencoder"))
def test_presets_are_valid(name: str) -> None:
    made = recipe("autoencoder", name)
    settings = autoencoder_settings(made.task)
    network = TinyAutoencoder.from_config(settings.network)
    assert settings.side % network.factor == 0
    assert made.smoke is not None


def test_tiny_is_the_network_that_ships() -> None:
    shipped = build_part("autoencoder", "tiny", Start(), 0)
    assert isinstance(shipped, TinyAutoencoder)
    ours = TinyAutoencoder.from_config(autoencoder_settings(recipe("autoencoder", "tiny").task).network).config
    assert replace(shipped.config, latent_mean=None, latent_std=None) == ours
