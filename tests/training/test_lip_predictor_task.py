"""The task `lip_predictor`: windows put together from clips and sentences, terms, the folded lip predictor, a run, what
a U-Net takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_unet_parts import AUTOENCODER, LIP_PREDICTOR
from training_clips import write_set

from latentsync.audio.windows import position_code
from latentsync.config.loader import preset_names
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.faces import topology as mesh
from latentsync.models import UNet
from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from latentsync.synth.truth import Truth
from latentsync.training.datasets import TrainingData, open_data
from latentsync.training.datasets.audio_features import features_of_clip
from latentsync.training.datasets.elsewhere import at_level, warped, without_speech
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.registry import recipe
from latentsync.training.engine.trainer import Trainer
from latentsync.training.tasks.lip_predictor.sentences import Lesson, ShapesToParameters
from latentsync.training.tasks.lip_predictor.settings import lip_predictor_settings
from latentsync.training.tasks.lip_predictor.task import LipPredictorTask, SpeechToLips, at_speed, build, tell
from latentsync.training.tasks.tiny_unet import task as few_step

NETWORK = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 32, "positions": 100, "states": [1],
           "final_norm": True, "output_width": 8}  # fmt: skip
QUIET: dict[str, Any] = {"sound": {"gain_db": 0, "noise": 0, "tilt_db": 0}, "room": 0, "band": 0, "colour": 0,
                         "warp": 0}  # fmt: skip
SETTINGS: dict[str, Any] = {"code": 3, "width": 16, **QUIET}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    return open_data([write_set(tmp_path / "set", people=3, clips=1)], tmp_path / "cache")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A random audio encoder's folder; its convolutions are loud enough for its states to tell the sound."""
    torch.manual_seed(0)
    audio_encoder = AudioEncoder(AudioEncoderConfig.from_mapping(NETWORK))
    with torch.no_grad():
        for convolution in (audio_encoder.encoder.conv1, audio_encoder.encoder.conv2):
            convolution.weight.mul_(5)
    folder = tmp_path / "audio_encoder"
    folder.mkdir()
    save_file(audio_encoder.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(audio_encoder.config))
    return folder


def batch_of(task: LipPredictorTask, *numbers: int) -> dict[str, torch.Tensor]:
    made = [task.example(number) for number in numbers]
    return {key: torch.stack([example[key] for example in made]) for key in made[0]}


def test_an_example_is_a_function_of_its_number_and_its_mouth_opens_with_its_sound(
    data: TrainingData, start: Path
) -> None:
    task, again = (build({**SETTINGS, "silent": 0.0}, data, start=start) for _ in range(2))
    task.example(5)
    one, two = task.example(3), again.example(3)
    shapes = {key: tuple(value.shape) for key, value in one.items()}
    assert shapes == {"mel": (80, 200), "code": (50, 3), "known": (50,), "piece": (50,), "seed": ()}
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["mel"], task.example(4)["mel"])
    predicted, loud = [], []
    for number in range(12):
        example = task.example(number)
        known = example["known"] > 0
        predicted.append(task.lips.opening(example["code"])[known])
        loud.append(example["mel"].mean(0).unflatten(0, (50, 4)).mean(1)[known])
    r = [float(np.corrcoef(torch.cat(predicted).roll(lag), torch.cat(loud))[0, 1]) for lag in (-3, 0, 3)]
    assert r[1] > 0.6, "played at any speed, put at any place"
    assert r[1] > max(r[0], r[2]) + 0.2


@pytest.mark.parametrize("speed", [1.0, 0.87, 1.14])
def test_code_stays_with_its_sound_at_any_speed(speed: float) -> None:
    code = np.zeros((50, 1), np.float32)
    code[30] = 1
    wave = np.zeros(32_000, np.float32)
    wave[30 * 640 : 31 * 640] = 1
    made = at_speed(Lesson(wave, code), speed)
    assert len(made.wave) == 640 * len(made.code)
    assert abs(int(made.code[:, 0].argmax()) - int(made.wave.reshape(-1, 640).mean(1).argmax())) <= 1
    assert abs(len(made.code) - 50 / speed) <= 1.5


def test_windows_without_speech_are_faint_and_want_a_closed_mouth(data: TrainingData, start: Path) -> None:
    task = build({**SETTINGS, "silent": 1.0}, data, start=start)
    batch = batch_of(task, 0, 1, 2)
    assert float(batch["code"].abs().max()) == 0
    assert float(batch["known"].min()) == 1
    rng = np.random.default_rng(0)
    levels = np.array([without_speech(rng, 16_000).std() for _ in range(60)])
    assert levels.max() < 0.011
    assert 5 < (levels == 0).sum() < 30


def test_a_warp_moves_frequencies() -> None:
    mel = torch.zeros(80, 3)
    mel[40] = 1
    assert torch.equal(warped(mel, 1.0), mel)
    assert int(warped(mel, 1.25)[:, 0].argmax()) == 32


def test_the_folded_lip_predictor_tells_what_the_network_tells(data: TrainingData, start: Path) -> None:
    task = build(SETTINGS, data, start=start)
    network = task.objectives[0].network
    assert isinstance(network, SpeechToLips)
    network.eval()
    mel = task.example(0)["mel"]
    with torch.no_grad():
        states, audio_features = network(mel[None])
        x = torch.nn.functional.silu(network.linear_1(audio_features))
        inside = network.head(torch.nn.functional.silu(network.linear_2(x)))[0]
    std = ((states[0] - network.mean) @ network.whiten).std()
    assert 0.2 < float(std) < 2, "standardised"
    wave = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    tokens = features_of_clip(network.audio_encoder, wave, 50)
    assert tell(network.lip_predictor(), tokens.flatten(1)).shape == (50, 3)
    outside = tell(network.lip_predictor(), (states[0][network.places] + position_code(10, 8)).flatten(1))
    assert torch.allclose(inside, outside, atol=1e-4)


def test_every_term_reaches_the_audio_encoder_and_what_is_unknown_counts_nothing(
    data: TrainingData, start: Path
) -> None:
    task = build({**SETTINGS, "silent": 0.0}, data, start=start)
    objective = task.objectives[0]
    batch = batch_of(task, *range(6))
    terms = objective(batch)
    assert set(terms) == {"code", "opening", "change", "correlation", "moved"}
    assert float(terms.pop("moved").detach()) == pytest.approx(0, abs=1e-6), "nothing has moved yet"
    weight = objective.network.audio_encoder.encoder.conv1.weight
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, weight, retain_graph=True)
        assert gradient.abs().max() > 0, name
    unknown = {**batch, "code": batch["code"] + 9 * (batch["known"] == 0)[..., None]}
    after = objective(unknown)
    assert all(torch.allclose(after[name], terms[name]) for name in terms)
    with torch.no_grad():
        objective.network.audio_encoder.project.bias.add_(0.5)
    assert float(objective(batch)["moved"].detach()) > 0.1
    assert "moved" not in build({**SETTINGS, "kept": 0.0}, data, start=start).objectives[0](batch)


def test_closed_mouths_count_more(data: TrainingData, start: Path) -> None:
    still, talking = ({**SETTINGS, "silent": share} for share in (1.0, 0.0))
    grown = []
    for settings in (still, talking):
        plain, strict = (build({**settings, "closed": closed}, data, start=start) for closed in (0.0, 3.0))
        batch = batch_of(plain, 0, 1, 2)
        terms = [task.objectives[0](batch)["opening"].detach() for task in (plain, strict)]
        grown.append(float(terms[1] / terms[0]))
    assert grown[0] == pytest.approx(4, rel=1e-3)
    assert 1 < grown[1] < 3


def test_the_width_of_the_mouth_is_taught_where_that_is_asked(data: TrainingData, start: Path) -> None:
    task = build({**SETTINGS, "silent": 0.0, "rounding": 1.0}, data, start=start)
    objective = task.objectives[0]
    batch = batch_of(task, *range(4))
    objective.spans.copy_(torch.tensor([0.6, 0.8, 0.0]))  # the mouths of these people are always as wide
    wide = batch["code"] @ objective.spans
    exact = objective.predicted
    objective.predicted = lambda given: (exact(given)[0], given["code"])  # type: ignore[method-assign]
    assert float(objective(batch)["rounding"].detach()) == pytest.approx(0, abs=0.01)
    error = torch.linspace(-1, 1, wide.shape[1])[None, :, None] * objective.spans
    objective.predicted = lambda given: (exact(given)[0], given["code"] + error)  # type: ignore[method-assign]
    assert float(objective(batch)["rounding"].detach()) > 0.05
    code = torch.eye(3)
    inner = [mesh.LIPS.index(point) for point in mesh.INNER_LIP_CORNERS]
    moved = code @ task.lips.motion
    torch.testing.assert_close(task.lips.width(code), moved[:, inner[1]] - moved[:, inner[0]])


def test_quiet_windows_are_as_quiet_as_is_asked(data: TrainingData, start: Path) -> None:
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.1, 16_000).astype(np.float32)
    for level in (-50.0, -20.0, 0.0):
        made = at_level(wave, level)
        assert np.abs(made).max() == pytest.approx(10 ** (level / 20), abs=2e-5)
        assert np.corrcoef(made, wave)[0, 1] > 0.99
    assert np.array_equal(at_level(np.zeros(9, np.float32), -20.0), np.zeros(9, np.float32))
    assert len(np.unique(at_level(wave, -50.0))) < 220, "16-bit steps"
    plain, quiet = (build({**SETTINGS, "silent": 0.0, "levels": share}, data, start=start) for share in (0.0, 1.0))
    loudest = [[float(task.example(k)["mel"].max()) for k in range(8)] for task in (plain, quiet)]
    assert np.std(loudest[1]) > 2 * np.std(loudest[0])
    assert np.mean(loudest[1]) < np.mean(loudest[0]) - 0.2


def test_people_who_open_their_mouths_more_are_brought_to_the_mean(data: TrainingData, start: Path) -> None:
    plain = build({**SETTINGS, "even": 0.0}, data, start=start)
    even = build({**SETTINGS, "even": 1.0}, data, start=start)
    spread = {
        clip.person: float(plain.lips.opening(plain.lips(clip) * even.gains[clip.person]).std()) for clip in even.train
    }
    assert set(plain.gains.values()) == {1.0}
    assert np.std(list(spread.values())) < 1e-5


def test_the_lip_predictor_learns_lips_and_a_audio_encoder_that_is_held_does_not_move(
    data: TrainingData, start: Path, tmp_path: Path
) -> None:
    loop = TrainConfig(
        steps=60, batch_size=4, learning_rate=5e-3, warmup_steps=5, ema=0.9, tensorboard=False, precision="bf16"
    )
    settings = {**SETTINGS, "dropout": 0.0, "noise": 0.0, "speed": 0.0, "silent": 0.2}
    task = build({**settings, "audio_encoder_rate": 0.0}, data, start=start)
    before = task.validate(task.objectives[0].network.eval()).figures["val/told_r"]
    outcome = Trainer(task, loop, tmp_path / "run").run()
    assert outcome.score is not None
    assert outcome.score > max(before, 0.0) + 0.2
    made, given = (load_file(folder / "model.safetensors") for folder in (outcome.component, start))
    assert all(torch.equal(made[key], value) for key, value in given.items())
    figures = task.validate(task.objectives[0].network.eval()).figures
    assert figures["val/silence"] < 1
    assert figures["val/moved"] < 1e-5

    free = build({**settings, "audio_encoder_rate": 1.0}, data, start=start)
    moved = Trainer(free, loop, tmp_path / "free").run()
    made = load_file(moved.component / "model.safetensors")
    assert float((made["encoder.conv1.weight"] - given["encoder.conv1.weight"]).abs().max()) > 1e-3


def test_a_unet_takes_the_lip_predictor_and_the_code_that_belongs_to_it(
    data: TrainingData, start: Path, tmp_path: Path
) -> None:
    width = UNet.from_config(LIP_PREDICTOR).lip_predictor.linear_2.in_features
    task = build({**SETTINGS, "width": width}, data, start=start)
    task.export(task.objectives[0].network, tmp_path / "out")
    settings = {"objective": "few_step", "unet": LIP_PREDICTOR, "num_frames": 4, "sounds": 1, "drives": 1,
                "components": {"autoencoder": AUTOENCODER, "audio_encoder": str(tmp_path / "out")},
                "lip_predictor": str(tmp_path / "out"), "few_step": {"teacher_forcing": 0.5}}  # fmt: skip
    made = few_step.build(settings, data)
    tokens = torch.randn(4, 80)
    lip_predictor = load_file(tmp_path / "out" / "lip_predictor.safetensors")
    assert torch.allclose(made.objectives[0].network.lip_predictor.code(tokens), tell(lip_predictor, tokens), atol=1e-5)
    silence = features_of_clip(task.objectives[0].network.audio_encoder, np.zeros(48_000, np.float32), 75).flatten(1)
    assert float(tell(lip_predictor, silence).mean(0).abs().max()) < 1e-5, "silence is a closed mouth"
    assert made.lips is not None
    assert torch.equal(made.lips.basis, task.lips.basis)
    with pytest.raises(WeightsError, match=r"task\.code, task\.width"):
        few_step.build({**settings, "unet": {**LIP_PREDICTOR, "audio_code": 4}}, data)


def test_the_code_of_lips_is_the_same_after_a_rest(data: TrainingData, tmp_path: Path) -> None:
    lips = LipParameterBasis(list(data.train), 3)
    save_file(lips.tensors(), tmp_path / "lips.safetensors")
    again = LipParameterBasis.from_tensors(load_file(tmp_path / "lips.safetensors"))
    clip = next(iter(data.val))
    assert torch.equal(again(clip), lips(clip))
    with pytest.raises(WeightsError, match="basis"):
        LipParameterBasis.from_tensors({"basis": lips.basis})


def test_face_shapes_become_the_code_of_the_lips(data: TrainingData, tmp_path: Path) -> None:
    lips = LipParameterBasis(list(data.train), 3)
    for clip in data.train:
        facts = clip.path / "meta.json"
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"source": f"somewhere/{clip.path.name}.mp4"}))
        opening = lips.opening(lips(clip)).numpy()
        shapes = np.stack([opening, 0 * opening, np.random.default_rng(0).random(len(opening))], axis=1)
        none = np.zeros(len(opening))
        truth = Truth(
            identity=0, clip=0, seed=0, phones=(), landmarks=np.zeros((1, 68, 2)), lip_gap_cm=none, lip_gap_px=none,
            pose=np.zeros((1, 3)), mouth_covered=none, occluder="", voice="", text="", person={},
            shape_names=("jawOpen", "mouthClose", "browDown"), shapes=shapes.astype(np.float32),
        )  # fmt: skip
        truth.save(tmp_path / clip.path.name)
    learnt = ShapesToParameters.learn(data.train, lips, [tmp_path])
    assert learnt.names == ("jawOpen", "mouthClose")
    wide = np.linspace(0, 0.2, 30)
    predicted = lips.opening(torch.from_numpy(learnt({"jawOpen": wide}, lips)))
    assert float(np.corrcoef(predicted, wide)[0, 1]) > 0.98
    assert 0.8 < float(predicted.max()) / 0.2 < 1.2
    with pytest.raises(ConfigError, match="no clip's truth"):
        ShapesToParameters.learn(data.train, lips, [tmp_path / "elsewhere"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kept": -1.0}, "task.kept"),
        ({"speed": 0.9}, "task.speed"),
        ({"sentences": {"count": 3}}, "task.sentences.truth"),
        ({"sentences": {"truth": ["x"], "share": 1.0}}, "share"),
        ({"sound": {"noise": 2.0}}, "noise"),
        ({"silnt": 0.1}, "silent"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lip_predictor_settings({**SETTINGS, **change})


def test_a_start_is_needed(data: TrainingData) -> None:
    with pytest.raises(ConfigError, match="--start"):
        build(SETTINGS, data)


@pytest.mark.parametrize("name", preset_names("train/lip_predictor"))
def test_presets_are_valid(name: str) -> None:
    lip_predictor_settings(recipe("lip_predictor", name).task)


def test_a_start_with_an_lip_predictor_goes_on_from_it(data: TrainingData, start: Path, tmp_path: Path) -> None:
    task = build(SETTINGS, data, start=start)
    task.export(task.objectives[0].network, start)
    again = build(SETTINGS, data, start=start, seed=3)
    mel = torch.randn(1, 80, 200)
    with torch.no_grad():
        audio_features = [each.objectives[0].network.eval()(mel)[1] for each in (task, again)]
        predicted = [
            tell_plain(each.objectives[0].network, x) for each, x in zip((task, again), audio_features, strict=True)
        ]
    apart = predicted[1] - predicted[0]  # the exported lip predictor is moved so that silence is a closed mouth
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart), atol=2e-3, rtol=1e-3)
    with pytest.raises(WeightsError, match=r"task\.width"):
        build({**SETTINGS, "width": 8}, data, start=start)


def test_a_start_with_an_lip_predictor_keeps_what_its_code_means(data: TrainingData, start: Path) -> None:
    """Learnt anew from other clips, the numbers could have other signs, and the lip predictor would have to turn
    round."""
    task = build(SETTINGS, data, start=start)
    task.lips.basis = -task.lips.basis
    task.export(task.objectives[0].network, start)
    again = build(SETTINGS, data, start=start)
    assert torch.equal(again.lips.basis, task.lips.basis)
    assert not torch.equal(again.lips.basis, LipParameterBasis(again.train, SETTINGS["code"]).basis)
    with pytest.raises(WeightsError, match=r"task\.code"):
        build({**SETTINGS, "code": 2}, data, start=start)


def tell_plain(network: SpeechToLips, audio_features: torch.Tensor) -> torch.Tensor:
    hidden = torch.nn.functional.silu(network.linear_1(audio_features))
    return network.head(torch.nn.functional.silu(network.linear_2(hidden)))


def test_parts_of_sentences_are_short_and_keep_their_sound(data: TrainingData, start: Path) -> None:
    whole, parts = (
        build({**SETTINGS, "silent": 0.0, "pauses": 0.0, "parts": share, "speed": 0.0}, data, start=start)
        for share in (0.0, 1.0)
    )
    pieces = [
        float(np.mean([int(task.example(number)["piece"].max()) + 1 for number in range(12)]))
        for task in (whole, parts)
    ]
    assert pieces[1] > pieces[0] + 0.5
    example = parts.example(0)
    counts = torch.bincount(example["piece"][example["piece"] >= 0])
    assert (counts <= 45).all() and (counts[:-1] >= 18).all()


def test_a_validation_hears_speech_assembled_from_parts(data: TrainingData, start: Path) -> None:
    task = build(SETTINGS, data, start=start)
    spoken = task.assembled()
    assert spoken and all(75 <= len(each.code) < 75 + 45 for each in spoken)
    assert all(len(each.wave) == 640 * len(each.code) for each in spoken)
    assert -1 <= task.validate(task.objectives[0].network.eval()).figures["val/parts_r"] <= 1
