"""The task `audio_encoder`: sounds with phones, windows put together from them, the teacher's lessons, judging,
export."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_clips import write_set

from latentsync.config.loader import preset_names
from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from latentsync.training.datasets import ArrayCache, TrainingData, open_data
from latentsync.training.datasets import speech as speech_module
from latentsync.training.datasets.speech import CLASSES, PAD_STATES, UNKNOWN, Sound, fill_window, voice_name
from latentsync.training.engine.components import Start, build_part
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.registry import recipe
from latentsync.training.engine.trainer import Trainer
from latentsync.training.tasks.audio_encoder.settings import audio_encoder_settings
from latentsync.training.tasks.audio_encoder.task import AudioEncoderTask, build
from latentsync.training.tasks.audio_encoder.teachers import load_teacher, principal_directions
from latentsync.training.tasks.audio_encoder.validate import Ridge, explained, phone_score

NETWORK = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 32, "positions": 50, "states": [1],
           "final_norm": True, "output_width": 8}  # fmt: skip
QUIET = {"sound": {"gain_db": 0, "noise": 0, "tilt_db": 0}, "room": 0, "band": 0, "colour": 0}
SETTINGS: dict[str, Any] = {
    "network": NETWORK, "teacher_states": [1, 2], "teacher_positions": 50, "versions": 2,
    "judged_clips": 2, "fitted_clips": 4,
}  # fmt: skip
TONES = {"aa": 300.0, "iy": 2500.0, "s": 6000.0}
"""Three phones a child could tell apart."""


def tones(number: int) -> dict[str, np.ndarray]:
    """Three seconds of tones of 0.1 to 0.3 s in the place of speech."""
    rng = np.random.default_rng(number)
    rows, wave, at = [], np.zeros(48_000, np.float32), 0.1
    while at < 2.8:
        name, length = list(TONES)[int(rng.integers(3))], float(rng.uniform(0.1, 0.3))
        span = np.arange(int(at * 16_000), int(min(at + length, 2.95) * 16_000))
        wave[span] = 0.2 * np.sin(2 * np.pi * TONES[name] * span / 16_000)
        rows.append((CLASSES.index(name), at, min(at + length, 2.95)))
        at += length + (0.1 if rng.random() < 0.3 else 0)
    return {"wave": wave, "phones": np.array(rows), "who": np.frombuffer(f"tone{number}".encode(), np.uint8)}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    return open_data([write_set(tmp_path / "set", people=3, clips=1)], tmp_path / "cache")


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """A folder as transformers writes it: a Whisper of width 16 with two layers, random."""
    config = AudioEncoderConfig(width=16, num_layers=2, num_heads=2, feed_forward=32, positions=100)
    folder = tmp_path / "whisper"
    folder.mkdir()
    given = '{"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, '
    (folder / "config.json").write_text(given + '"max_source_positions": 100, "num_mel_bins": 80}')
    state = {f"model.{key}": value for key, value in listening(config).state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return str(folder)


@pytest.fixture
def voices(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Tones for speech: engines may not be installed where the tests run."""
    numbers = iter(range(1000))
    monkeypatch.setattr(speech_module, "_spoken", lambda rng, seconds, engines: tones(next(numbers)))
    return {"voices": 6, "held_out": 2, "seconds": 3, "share": 0.5, "engines": ["espeak"]}


def listening(config: AudioEncoderConfig) -> AudioEncoder:
    """A random encoder whose states tell more of the sound than of the place in the window."""
    torch.manual_seed(0)
    audio_encoder = AudioEncoder(config)
    with torch.no_grad():
        for convolution in (audio_encoder.encoder.conv1, audio_encoder.encoder.conv2):
            convolution.weight.mul_(5)
    return audio_encoder.eval()


def sound(phones: bool = True) -> Sound:
    made = tones(0)
    return Sound("tone0", "ab" * 20, partial(made.get, "wave"), partial(made.get, "phones") if phones else None)  # type: ignore[arg-type]


@pytest.mark.parametrize("speed", [1.0, 0.87, 1.14])
def test_labels_stay_with_their_sound_at_any_speed(speed: float) -> None:
    wave = sound().at_speed(speed)
    labels = sound().labels(speed, len(wave) // 320)
    assert len(wave) % 320 == 0
    assert (labels[:PAD_STATES] == CLASSES.index("sil")).all()
    for k in range(len(labels) - 1):
        part = wave[k * 320 : k * 320 + 640]
        if labels[k] == labels[k + 1] == CLASSES.index("sil"):
            continue
        if labels[k] == labels[k + 1]:
            found = np.abs(np.fft.rfft(part)).argmax() * 16_000 / 640
            name = CLASSES[labels[k]]
            assert abs(found - TONES[name] * speed) < 60, (k, name)
    assert (sound(phones=False).labels(speed, 9) == UNKNOWN).all()


def test_windows_are_full_and_a_sound_has_no_usual_place_in_them() -> None:
    own, rng = sound(), np.random.default_rng(0)
    length = len(own.at_speed(1.0)) // 320
    firsts = []
    for _ in range(60):
        pieces = fill_window(lambda _: own, lambda *_: 1.0, lambda *_: length, 400, rng)
        assert pieces[0].at == 0
        assert all(a.at + a.last - a.first == b.at for a, b in pairwise(pieces))
        assert pieces[-1].at + pieces[-1].last - pieces[-1].first == 400
        firsts.append(pieces[0].first)
    assert np.std(firsts) > 0.2 * length


def test_voices_are_split_by_name_and_spoken_once(
    tmp_path: Path, voices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ArrayCache(tmp_path)
    known, unseen = speech_module.synthetic_voices(6, 2, 3.0, 0, ("espeak",), cache)
    assert [sound.who for sound in known] == ["tone0", "tone1", "tone2", "tone3"]
    assert [sound.who for sound in unseen] == ["tone4", "tone5"]
    monkeypatch.setattr(speech_module, "_spoken", lambda *_: pytest.fail("spoken twice"))
    again, _ = speech_module.synthetic_voices(6, 2, 3.0, 0, ("espeak",), cache)
    assert np.array_equal(known[1].wave(), again[1].wave())
    assert pickle.dumps(again[1]), "loader workers get copies"
    monkeypatch.setattr(speech_module, "_spoken", lambda *_: tones(1))
    with pytest.raises(LatentSyncError, match="Raise voices"):
        speech_module.synthetic_voices(4, 1, 3.0, 9, ("espeak",), cache)


def test_names_of_voices_hold_neither_size_nor_accent() -> None:
    assert voice_name("espeak:gmw/en-US+f2:x0.97") == voice_name("espeak:pl+f2") == "espeak+f2"
    assert voice_name("flite:slt:x1.05") == "flite:slt"


def test_an_example_is_a_function_of_its_number_and_wants_what_the_teacher_heard(
    data: TrainingData, teacher: str, voices: dict[str, Any]
) -> None:
    settings = {**SETTINGS, **QUIET, "teacher": teacher, "speech": voices, "phones": 0.3}
    one = build(settings, data)
    two = AudioEncoderTask(one.objectives[0].network, one.settings, data, 0)
    one.example(5)
    a, b = one.example(3), two.example(3)
    assert {key: tuple(value.shape) for key, value in a.items()} == {
        "mel": (80, 100), "phones": (50,), "taught": (50, 8), "seed": (),
    }  # fmt: skip
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["mel"], one.example(4)["mel"])
    many = [one.example(n) for n in range(30)]
    labels = torch.cat([example["phones"] for example in many])
    assert 0.2 < float((labels == UNKNOWN).float().mean()) < 0.8, "clips have no phones, voices have"
    taught = torch.cat([example["taught"] for example in many])
    assert 0.5 < float(taught.std()) < 2, "whitened"
    assert taught.mean().abs() < 0.3


def test_disturbing_moves_nothing(data: TrainingData, teacher: str) -> None:
    task = build({**SETTINGS, "teacher": teacher, "room": 1, "band": 1}, data)
    wave = np.zeros(16_000, np.float32)
    wave[8000:9600] = 0.3 * np.random.default_rng(1).standard_normal(1600)
    for seed in range(6):
        mel = task._mel(wave, np.random.default_rng(seed)).mean(0)
        assert mel[51:59].mean() > mel[:48].mean() + 0.1
        assert int(mel.diff().argmax()) in (47, 48, 49, 50)


def test_every_term_reaches_the_network_and_unknown_phones_count_nothing(
    data: TrainingData, teacher: str, voices: dict[str, Any]
) -> None:
    task = build({**SETTINGS, "teacher": teacher, "speech": voices, "phones": 0.3}, data)
    objective = task.objectives[0]
    made = [task.example(n) for n in range(6)]
    batch = {key: torch.stack([example[key] for example in made]) for key in made[0]}
    terms = objective(batch)
    assert set(terms) == {"states", "steps", "phones"}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, objective.network.encoder.conv1.weight, retain_graph=True)
        assert gradient.abs().max() > 0, name
    nobody = {**batch, "phones": torch.full_like(batch["phones"], UNKNOWN)}
    assert objective(nobody)["phones"] == 0
    alone = build({**SETTINGS, "teacher": None, "speech": voices, "phones": 1.0}, data)
    assert set(alone.objectives[0](batch | {"taught": batch["taught"]})) >= {"phones"}
    assert "taught" not in alone.example(0)
    assert alone.score == ("val/phone_error_spoken", False)


def test_a_ridge_finds_the_line_and_explained_variance_is_one_for_the_truth() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 5)) * 3 + 1
    y = x @ rng.standard_normal((5, 2)) + 4
    made = Ridge.fit(x[:300], y[:300])(x[300:])
    assert np.corrcoef(made[:, 0], y[300:, 0])[0, 1] > 0.999
    wanted = torch.randn(50, 3)
    assert explained([(wanted, wanted)]) == 1
    assert explained([(wanted.mean(0).expand(50, 3), wanted)]) == pytest.approx(0, abs=1e-6)


def test_whitened_directions() -> None:
    states = torch.randn(4000, 60, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 3, 60)
    mean, project = principal_directions(states, 12)
    made = (states - mean) @ project
    assert torch.allclose(made.T @ made / len(made), torch.eye(12), atol=0.02)


def test_phones_of_unseen_voices_are_read_from_states_that_tell_them(tmp_path: Path, voices: dict[str, Any]) -> None:
    known, unseen = speech_module.synthetic_voices(6, 2, 3.0, 0, ("espeak",), ArrayCache(tmp_path))
    score = phone_score(listening(AudioEncoderConfig.from_mapping({**NETWORK, "output_width": None})), known, unseen)
    assert score.spoken_error < 0.3 < score.chance, "even a random network tells these tones apart"


def test_a_run_learns_its_teacher_and_leaves_a_component_that_can_go_on(
    data: TrainingData, teacher: str, tmp_path: Path
) -> None:
    settings = {**SETTINGS, **QUIET, "teacher": teacher, "versions": 1}
    task = build(settings, data)
    before = task.validate(task.objectives[0].network.eval()).figures["val/explained"]
    loop = TrainConfig(steps=80, batch_size=4, learning_rate=1e-2, warmup_steps=5, ema=0.9, tensorboard=False)
    outcome = Trainer(task, loop, tmp_path / "run").run()
    assert outcome.score is not None
    assert outcome.score > max(before, 0) + 0.1
    judged = next((tmp_path / "run" / "pictures").iterdir())
    assert (judged / "lips.png").is_file()
    part = build_part("audio_encoder", str(outcome.component), Start(), 0)
    assert isinstance(part, AudioEncoder)
    assert part.config == task.objectives[0].network.config
    again = build(settings, data, start=outcome.component)
    assert again.validate(part).figures["val/explained"] == pytest.approx(outcome.score, abs=1e-4)
    with pytest.raises(ConfigError, match="feed_forward"):
        build({**settings, "network": {**NETWORK, "feed_forward": 64}}, data, start=outcome.component)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": None}, "task.teacher"),
        ({"phones": 1.0}, "task.speech"),
        ({"teacher_states": [1, 3]}, "states 0 to 2"),
        ({"teacher_positions": 200}, "the teacher has 100"),
        ({"network": {**NETWORK, "output_width": 40}}, "32 directions"),
        ({"speech": {"voices": 3, "held_out": 3}}, "held_out"),
        ({"spech": None}, "speech"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    data: TrainingData, teacher: str, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build({**SETTINGS, "teacher": teacher, **change}, data)


def test_teachers_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tiny\.en"):
        load_teacher(str(tmp_path), 50)


@pytest.mark.parametrize("name", preset_names("train/audio_encoder"))
def test_presets_are_valid(name: str) -> None:
    made = recipe("audio_encoder", name)
    settings = audio_encoder_settings(made.task)
    AudioEncoder.from_config(settings.network)
    assert made.smoke is not None or name == "tiny"  # a short run of it reaches no more than a constant
    if name == "tiny":
        shipped = build_part("audio_encoder", "tiny", Start(), 0)
        assert isinstance(shipped, AudioEncoder)
        own = AudioEncoderConfig.from_mapping(settings.network)  # smaller, and fits the same U-Net
        given = [(shape.positions, shape.output_width, len(shape.states_used)) for shape in (shipped.shape, own)]
        assert given[0] == given[1]
