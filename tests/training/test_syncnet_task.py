"""The task `syncnet`: examples, losses, judging, health, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from training_clips import write_set

from latentsync.config.loader import load_preset, preset_names
from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.evaluation.networks import load_own
from latentsync.models.syncnet import EncoderConfig, SyncNet
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.models.weights.layout import save_model
from latentsync.training.datasets import open_data
from latentsync.training.tasks.syncnet.health import DataProbe, Symptoms, probe_data, warnings_of
from latentsync.training.tasks.syncnet.objective import ContrastiveObjective, own_chance, pair_loss
from latentsync.training.tasks.syncnet.settings import syncnet_settings, view_of
from latentsync.training.tasks.syncnet.task import SyncNetTask, build, make_task
from latentsync.training.tasks.syncnet.validate import ClipScore, Eyes, figures_of, score_clip

FRAMES = 8


@pytest.fixture
def network(tmp_path: Path) -> str:
    """A small network: 8 frames of 32 px, mel (1, 80, 26)."""
    model = {
        "audio_encoder": {"in_channels": 1, "block_out_channels": [32, 32, 128],
                          "downsample_factors": [[4, 2], 4, [5, 3]]},
        "visual_encoder": {"in_channels": 3 * FRAMES, "block_out_channels": [32, 32, 128],
                           "downsample_factors": [2, 4, [2, 4]]},
    }  # fmt: skip
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump({"num_frames": FRAMES, "input": "pixel", "resolution": 32, "model": model}))
    return str(path)


def task_of(
    tmp_path: Path, network: str, seed: int = 0, late_s: float = 0.0, people: int = 4, **more: Any
) -> SyncNetTask:
    root = tmp_path / f"set{late_s}{people}"
    data = open_data([root if root.exists() else write_set(root, people, late_s=late_s)], tmp_path / "cache")
    return make_task({"network": network, **more}, data, seed=seed)


def batch_of(task: SyncNetTask, start: int, size: int) -> dict[str, torch.Tensor]:
    made = [task.example(number) for number in range(start, start + size)]
    return {key: torch.stack([example[key] for example in made]) for key in made[0]}


@pytest.mark.parametrize("loss", ["bce", "contrastive"])
def test_example_n_is_always_the_same_whatever_was_asked_before(tmp_path: Path, network: str, loss: str) -> None:
    more = {"loss": loss, "look": {"jpeg": 0.5}, "sound": {"noise": 1}, "windows": 2, "more_sounds": 2}
    one, two = (task_of(tmp_path, network, **more) for _ in range(2))
    one.example(5)
    a, b, other = one.example(3), two.example(3), two.example(4)
    assert set(a) == (
        {"frames", "mel", "label", "seed"} if loss == "bce" else {"frames", "mel", "lips", "start", "clip", "seed"}
    )
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["mel"], other["mel"])
    assert a["seed"] != other["seed"]
    assert task_of(tmp_path, network, seed=1, **more).example(3)["seed"] != a["seed"]


def test_right_pairs_show_the_mouth_of_their_sound(tmp_path: Path, network: str) -> None:
    """In the made clips the mouth is as open as the sound is loud: right pairs go together, wrong ones don't."""
    task = task_of(tmp_path, network)
    r: dict[bool, list[float]] = {True: [], False: []}
    for number in range(120):
        example = task.example(number)
        dark = (example["frames"].view(FRAMES, 3, 16, 32)[:, 0].float() < 90).float().mean((1, 2)).numpy()
        loud = example["mel"][0, :, np.round((np.arange(FRAMES) + 0.5) * 3.2).astype(int)].mean(0).numpy()
        if dark.std() > 0.01 and loud.std() > 0.1:
            r[bool(example["label"])].append(float(np.corrcoef(dark, loud)[0, 1]))
    assert 0.35 < len(r[True]) / (len(r[True]) + len(r[False])) < 0.65
    assert np.median(r[True]) > 0.8
    assert np.median(r[False]) < 0.5


def test_the_kinds_of_wrong_pairs(tmp_path: Path, network: str) -> None:
    near = task_of(tmp_path, network, negatives={"other_time": 0, "near": 1, "near_frames": 2})
    clips = list(near.train)
    rng = np.random.default_rng(0)
    found = [near._wrong(clips[0], 10, 40, rng) for _ in range(40)]
    assert {at for _, at in found} == {8, 9, 11, 12}
    other = task_of(tmp_path, network, negatives={"other_time": 0, "other_clip": 1})
    assert all(other._wrong(clip, 3, 40, rng)[0] is not clip for clip in other.train)
    time = task_of(tmp_path, network)
    assert 3 not in {at for _, at in (time._wrong(clips[0], 3, 5, rng) for _ in range(40))}


def test_windows_of_a_clip_keep_their_distance(tmp_path: Path, network: str) -> None:
    task = task_of(tmp_path, network, loss="contrastive", windows=3, more_sounds=3, spacing=4)
    example = task.example(0)
    assert example["frames"].shape == (3, 3 * FRAMES, 16, 32)
    assert example["mel"].shape == (6, 1, 80, 26)
    assert np.diff(np.sort(example["start"].numpy())).min() >= 4


def test_near_sounds_lie_beside_picture_windows(tmp_path: Path, network: str) -> None:
    near = task_of(tmp_path, network, loss="contrastive", windows=3, more_sounds=4, spacing=3, near_sounds=2)
    seen = set()
    for number in range(20):
        start = near.example(number)["start"].numpy()
        for sound in start[-2:]:
            seen.add(int(np.abs(start[:3] - sound).min()))
        assert np.diff(np.sort(start[:5])).min() >= 3
    assert seen == {1, 2}
    with pytest.raises(ConfigError, match="near_sounds"):
        task_of(tmp_path, network, loss="contrastive", more_sounds=2, near_sounds=3)


def test_the_official_loss_is_cross_entropy_of_the_cosine() -> None:
    cosine, label = torch.tensor([0.9, 0.2, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    expected = torch.nn.functional.binary_cross_entropy(cosine, label, reduction="none")
    assert torch.allclose(pair_loss(cosine, label), expected, atol=1e-5)
    worst = torch.tensor([0.0, 1.0, 1.0000001], requires_grad=True)
    pair_loss(worst, torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    assert worst.grad is not None
    assert worst.grad.isfinite().all()
    assert worst.grad[0] < -1e3
    assert worst.grad[1] > 1e3


class Given(torch.nn.Module):
    """Gives embeddings as they are."""

    visual_config = EncoderConfig(in_channels=1, block_out_channels=(32,), downsample_factors=(1,))

    def forward(self, visual: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return visual.float(), audio.float()


def contrast(
    visual: torch.Tensor,
    audio: torch.Tensor,
    start: list[list[int]],
    clip: list[int],
    other_clips: bool = True,
    near: bool = False,
) -> dict[str, float]:
    objective = ContrastiveObjective(
        Given(),  # type: ignore[arg-type]
        temperature=0.1,
        probability=1.0,
        spacing=3,
        near=near,
        lips=0.0,
        other_clips=other_clips,
        num_frames=4,
    )
    batch = {"frames": visual, "mel": audio, "start": torch.tensor(start), "clip": torch.tensor(clip),
             "seed": torch.zeros(len(clip), dtype=torch.int64)}  # fmt: skip
    return {key: float(value) for key, value in objective(batch).items()}


def test_the_contrast_is_least_for_right_pairs_and_ignores_near_windows() -> None:
    visual = torch.eye(8)[:4].view(2, 2, 8)
    audio = torch.eye(8)[[0, 1, 4, 2, 3, 5]].view(2, 3, 8)  # the third sound of each clip fits no picture
    far = [[0, 10, 20], [0, 10, 20]]
    assert contrast(visual, audio, far, [0, 1])["choice"] < 0.01
    assert contrast(visual, audio, far, [0, 1])["probability"] < 1e-3
    swapped = contrast(visual, audio[:, [1, 0, 2]], far, [0, 1])
    assert swapped["choice"] > 5
    same = audio.clone()
    same[:, 2] = same[:, 0]  # a wrong sound like the right one
    confused = contrast(visual, same, far, [0, 1])["choice"]
    forgiven = contrast(visual, same, [[0, 10, 2], [0, 10, 2]], [0, 1])["choice"]
    assert forgiven < 0.01 < confused
    beside = contrast(visual, same, [[0, 10, 2], [0, 10, 2]], [0, 1], near=True)
    assert beside["choice"] == pytest.approx(confused)
    assert beside["probability"] < 1e-3
    again = contrast(visual, same, [[0, 10, 0], [0, 10, 0]], [0, 1], near=True)["choice"]  # the very same window
    assert again < 0.01
    alike = audio.clone()
    alike[1, 2] = audio[0, 0]  # a sound of another clip like the right one
    assert contrast(visual, alike, far, [0, 1])["choice"] > 0.01
    assert contrast(visual, alike, far, [0, 1], other_clips=False)["choice"] < 0.01
    twice = contrast(visual[[0, 0]], audio[[0, 0]], far, [0, 0])["choice"]  # one clip twice in a batch
    assert twice < 0.01


def test_dropout_depends_on_the_examples_alone() -> None:
    layer, x = torch.nn.Dropout(0.5), torch.ones(100)
    drawn = []
    for _ in range(2):
        torch.rand(3)
        with own_chance(layer, torch.tensor([7, 8])):
            drawn.append(layer(x))
    assert torch.equal(*drawn)


def test_pairs_can_be_learnt(tmp_path: Path, network: str) -> None:
    task = task_of(tmp_path, network)
    optimiser = torch.optim.AdamW(task.objective.parameters(), lr=3e-3)
    batch, losses = batch_of(task, 0, 16), []
    for _ in range(25):
        (term,) = task.objective(batch).values()
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        losses.append(float(term.detach()))
    assert losses[0] == pytest.approx(0.69, abs=0.35)
    assert losses[-1] < 0.4
    assert task.objective.pairs_seen == 16


def test_it_learns_to_tell_right_from_wrong_on_people_it_has_not_met(tmp_path: Path, network: str) -> None:
    task = task_of(tmp_path, network, loss="contrastive", windows=4, more_sounds=2, lips=1.0)
    before = task.validate(task.objective.network.eval())
    assert before.figures["val/accuracy"] < 0.62
    optimiser = torch.optim.AdamW(task.objective.parameters(), lr=3e-3)
    task.objective.train()
    for step in range(30):
        terms = task.objective(batch_of(task, step * 6, 6))
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    after = task.validate(task.objective.network.eval())
    assert after.figures["val/paired"] > 0.8
    assert after.figures["val/accuracy"] > 0.65
    assert after.figures["val/offset_accuracy"] == 1.0
    assert after.figures["val/confidence"] > 0.1 > before.figures["val/confidence"]
    assert not after.warnings
    assert {name: picture.dtype for name, picture in after.pictures.items()} == {
        "offsets": np.uint8,
        "history": np.uint8,
    }
    again = task.validate(task.objective.network)
    assert again.figures == after.figures


class Opposite(torch.nn.Module):
    """Embeds window s (written into its first value) as a direction of its own."""

    def __init__(self, moved: int) -> None:
        super().__init__()
        self.weight, self.moved = torch.nn.Parameter(torch.zeros(1)), moved

    def visual_encoder(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(80)[x[:, 0, 0, 0].long()]

    def audio_encoder(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(80)[(x[:, 0, 0, 0].long() - self.moved).clamp(0, 79)]


@pytest.mark.parametrize("moved", [0, 4, -7])
def test_a_known_offset_is_found(moved: int) -> None:
    eyes = Eyes(Opposite(moved), bf16=False)  # type: ignore[arg-type]
    windows = lambda _, starts: np.array(list(starts), np.float32)[:, None, None, None]  # noqa: E731
    score = score_clip(eyes, None, 60, 4, windows, windows, 0)  # type: ignore[arg-type]
    assert score.offset_frames == moved
    assert set(score.best.tolist()) == {moved}
    figures = figures_of([score], "x")
    assert figures["x/offset_accuracy"] == float(moved == 0)
    assert figures["x/accuracy"] == (1.0 if moved == 0 else pytest.approx(0.5, abs=0.07))


def test_the_balanced_accuracy_counts_both_kinds_alike() -> None:
    curve, best = np.zeros(21), np.zeros(1, int)
    sure = ClipScore(np.array([0.9, 0.9]), np.array([0.8, 0.1]), curve, best)
    assert figures_of([sure], "x")["x/accuracy"] == 0.75
    blind = ClipScore(np.full(4, 0.9), np.full(4, 0.9), curve, best)
    assert figures_of([blind], "x")["x/accuracy"] == 0.5
    assert figures_of([blind], "x")["x/paired"] == 0.5


@pytest.mark.parametrize("late_s", [0.0, 0.2])
def test_the_probe_finds_how_late_the_sound_is(tmp_path: Path, network: str, late_s: float) -> None:
    probe = probe_data(list(task_of(tmp_path, network, late_s=late_s).train))
    assert probe.works
    assert probe.late_s == pytest.approx(late_s, abs=0.04)
    assert probe.peak > 2 * probe.exchanged_peak


GOOD = DataProbe(late_s=0.0, peak=0.4, exchanged_peak=0.02, moved_s=0.2)
BLIND = Symptoms(held_out=0.5, offsets=0.15, trained_on=0.51, exchanged=0.5, pairs=1024, people=200, clips=2000)


@pytest.mark.parametrize(
    ("symptoms", "probe", "said"),
    [
        ({}, {"late_s": -0.16}, "-160 ms from the lips"),
        ({}, {"peak": 0.02}, "do not go together"),
        ({"trained_on": 0.9}, {}, "Too little data"),
        ({"exchanged": 0.8}, {}, "whose sound it is"),
        ({"pairs": 64}, {}, "64 pairs are compared"),
        ({"people": 5}, {}, "5 people"),
        ({}, {}, "look right"),
    ],
)
def test_each_cause_of_chance_is_named(symptoms: dict[str, Any], probe: dict[str, Any], said: str) -> None:
    found = warnings_of(replace(BLIND, **symptoms), replace(GOOD, **probe))
    assert found[0].startswith("At chance")
    assert said in found[1]
    assert not warnings_of(replace(BLIND, held_out=0.9, **symptoms), replace(GOOD, **probe))
    assert not warnings_of(replace(BLIND, offsets=0.6, **symptoms), replace(GOOD, **probe))


def test_a_network_at_chance_on_late_sound_is_told_so(tmp_path: Path, network: str) -> None:
    task = task_of(tmp_path, network, late_s=0.2)
    said = " ".join(task.validate(task.objective.network.eval()).warnings)
    assert "+200 ms" in said or "+190 ms" in said or "+210 ms" in said


def test_what_is_exported_is_read_as_a_judge_and_to_go_on_from(tmp_path: Path, network: str) -> None:
    task = task_of(tmp_path, network)
    task.export(task.objective.network, tmp_path / "out")
    judge, described = load_own(tmp_path / "out")
    assert (described["num_frames"], described["resolution"], described["lower_half"]) == (FRAMES, 32, True)
    for name, value in judge.state_dict().items():
        assert torch.equal(value, task.objective.network.state_dict()[name])
    data = open_data([tmp_path / "set0.04"], tmp_path / "cache")
    went_on = make_task({"network": network}, data, start=tmp_path / "out", seed=9)
    assert torch.equal(went_on.objective.network.audio_encoder.conv_in.weight, judge.audio_encoder.conv_in.weight)
    torch.save({"state_dict": judge.state_dict(), "global_step": 3}, tmp_path / "released.pt")
    make_task({"network": network}, data, start=tmp_path / "released.pt")
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError):
        make_task({"network": network}, data, start=tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="no config"):
        make_task({"network": network}, data, start=tmp_path)


def test_the_command_builds_it_from_folders(tmp_path: Path, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    task = build({"network": network}, [write_set(tmp_path / "set")], seed=3)
    assert task.fingerprint["clips"] == 8
    task.example(0)
    assert any((tmp_path / "cache" / "training").rglob("*.npy"))


def test_a_network_on_latents_sees_the_cached_latents(tmp_path: Path, network: str) -> None:
    torch.manual_seed(0)
    autoencoder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8)))
    save_model(tmp_path / "model", {"autoencoder": autoencoder}, name="x")
    described = yaml.safe_load(Path(network).read_text())
    described |= {"input": "latent", "resolution": 64}
    described["model"]["visual_encoder"] |= {"in_channels": 4 * FRAMES, "downsample_factors": [4, 4, [1, 1]]}
    Path(network).write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match=r"task\.autoencoder"):
        task_of(tmp_path, network)
    task = task_of(tmp_path, network, autoencoder=str(tmp_path / "model" / "autoencoder"))
    example = task.example(0)
    side = 64 // autoencoder.factor
    assert example["frames"].shape == (4 * FRAMES, side, side)
    clip = next(iter(task.train))
    x = torch.from_numpy(np.array(clip.crops[3:4])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = autoencoder.encode(x)[0]
    assert np.allclose(task.pictures(clip, [3])[0][:4], expected.numpy(), atol=0.02)


@pytest.mark.parametrize(
    ("given", "key"),
    [({"los": "bce"}, "task.los"), ({"loss": "mse"}, "task.loss"), ({"look": {"gains": 1}}, "task.look.gains"),
     ({"negatives": {"near": -1}}, "task.negatives"), ({"temperature": 5.0}, "task.temperature"),
     ({"sound": 3}, "task.sound")],
)  # fmt: skip
def test_wrong_settings_are_refused(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        syncnet_settings(given)


def test_too_short_clips_are_refused_at_once(tmp_path: Path, network: str) -> None:
    with pytest.raises(LatentSyncError, match="8 of 8 clips are too short: 79 frames"):
        task_of(tmp_path, network, loss="contrastive", windows=12, more_sounds=12)


@pytest.mark.parametrize("name", preset_names("train/syncnet"))
def test_every_preset_can_be_built_and_fits_its_window(name: str) -> None:
    preset: Any = load_preset(name, "train/syncnet")
    settings = syncnet_settings(preset["task"])
    view = view_of(settings.network)
    with torch.device("meta"):
        net = SyncNet.from_config(view.model)
        channels = view.model["visual_encoder"]["in_channels"]
        rows, columns = (view.resolution // 2, view.resolution) if view.lower_half else (32, 32)
        visual, audio = net(torch.empty(2, channels, rows, columns), torch.empty(2, 1, 80, view.columns))
    assert visual.shape == audio.shape
    official = name.startswith("official")
    assert visual.shape[1] == {"official_16_latent": 1024, "official_25_pixel": 1024, "small": 256}.get(name, 2048)
    assert (settings.loss == "bce") == official
    assert json.dumps(preset["loop"])


def test_windows_end_where_picture_and_sound_end() -> None:
    view = view_of("small")
    assert view.columns == 52
    assert [view.column(s) for s in (0, 1, 5)] == [0, 3, 16]
    for columns in (52, 54, 55, 240, 241):
        count = view.num_starts(1000, columns)
        assert view.column(count - 1) + 52 <= columns < view.column(count) + 52
    assert view.num_starts(20, 1000) == 5
    assert view.num_starts(75, 40) == 0
