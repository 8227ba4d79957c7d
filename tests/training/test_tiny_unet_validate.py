"""Are lips drawn as told? Toy networks draw brighter mouths the more they are told, and a tracker reads that off."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_unet_parts import LIP_PREDICTOR, audio_encoder, objective, talking_mesh, write_people

from latentsync.core.values import Face, Frame
from latentsync.models import UNet
from latentsync.training.datasets import SoundRange, TrainingData, open_data
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.tasks.tiny_unet.objective import FewStepConfig, FewStepObjective
from latentsync.training.tasks.tiny_unet.validate import drawn_as_predicted

WINDOW = 8


class Painter(torch.nn.Module):
    """Changes the first channel of the latents by the code's first number times `strength`."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.config, self.strength = UNet.from_config(LIP_PREDICTOR).config, strength

    def forward(self, sample: torch.Tensor, _: object, __: object, code: torch.Tensor) -> torch.Tensor:
        answer = torch.zeros(len(sample), 4, *sample.shape[2:])
        answer[:, 0] = self.strength * code[..., 0, None, None]
        return answer


class Brightness:
    """Sees a mouth as open as the lips' part of the picture is bright, of the first frames."""

    def __init__(self, dark: float, bright: float, most: int = 1000) -> None:
        self.dark, self.bright, self.most = dark, bright, most

    def open(self) -> _Session:
        return _Session(self)


class _Session(AbstractContextManager["_Session"]):
    def __init__(self, scale: Brightness) -> None:
        self.scale = scale

    def __exit__(self, *_: object) -> None:
        return None

    def cut(self) -> None:
        return None

    def track(self, frame: Frame) -> tuple[Face, ...]:
        if frame.index >= self.scale.most:
            return ()
        opening = (brightness(np.asarray(frame.picture.rgb())[96:-64, 80:-80]) - self.scale.dark) / (
            self.scale.bright - self.scale.dark
        )
        return (Face(0, talking_mesh(np.array([opening]))[0], 1.0),)


def brightness(crop: np.ndarray) -> float:
    return float(crop[170:200, 100:156].mean())


@pytest.fixture
def clips(tmp_path: Path) -> TrainingData:
    """Held-out people whose pictures say nothing: grey."""
    write_people(tmp_path)
    for name in ("cleo", "dan"):
        np.save(tmp_path / "clips" / name / "crops.npy", np.full((40, 256, 256, 3), 128, np.uint8))
    return open_data([tmp_path / "clips"], cache=tmp_path / "grey")


def task() -> FewStepObjective:
    return objective(FewStepConfig(condition_dropout=0.0))


def decoded(judge: FewStepObjective, code: float) -> float:
    """Brightness that a `Painter` of strength 1 gives a mouth that is told this code."""
    crops = np.full((1, 256, 256, 3), 128, np.uint8)
    batch = {"target": torch.from_numpy(crops)[None], "references": torch.from_numpy(crops)[None]}
    _, masked, still = judge.latents_of(batch)
    made = still[0].clone()
    made[:, 0] += code
    with torch.no_grad():
        pixels = judge.decode(torch.lerp(masked[0], made, judge.region)).clamp(-1, 1)
    rows, columns = judge.window.pixels(judge.autoencoder.factor)
    whole = crops[0].astype(np.float32)
    whole[rows, columns] = ((pixels[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    return brightness(whole)


def figures_of(clips: TrainingData, strength: float, most: int = 1000) -> dict[str, float]:
    """Of a `Painter`, seen by a tracker whose closed and wide open mouths are those of a painter of strength 1."""
    judge, lips = task(), LipParameterBasis(clips.train, 3)
    step = float(np.ptp(lips.of(talking_mesh(np.array([0.0, 1.0])))[:, 0].numpy()))
    tracker = Brightness(decoded(judge, 0.0), decoded(judge, step), most)
    hearing = ClipAudioFeatures(audio_encoder(), clips.cache, SoundRange())
    return drawn_as_predicted(judge, Painter(strength), list(clips.val), lips, hearing, tracker, WINDOW)


@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0, 0.0])
def test_lips_that_are_drawn_as_told_are_told_from_others(clips: TrainingData, strength: float) -> None:
    figures = figures_of(clips, strength)
    assert figures["drawn_0"] == pytest.approx(np.sign(strength), abs=0.1)
    assert figures["strength_0"] == pytest.approx(strength, abs=0.22)  # the decoder is not quite linear


def test_nothing_is_said_of_mouths_that_are_hardly_seen(clips: TrainingData) -> None:
    assert figures_of(clips, 1.0, most=WINDOW - 1) == {}
    assert np.isfinite(list(figures_of(clips, 1.0, most=WINDOW).values())).all()
