"""The scripts of recipes/tiny that need no data."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentsync.config import renamed
from latentsync.models import UNet
from latentsync.training.datasets.audio_features import load_component
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.tasks.tiny_unet.task import take_lip_predictor

RECIPES = Path(__file__).parents[2] / "recipes" / "tiny"
SHIPPED = Path(__file__).parents[2] / "src" / "latentsync" / "assets" / "tiny"


def run_recipe(monkeypatch: pytest.MonkeyPatch, name: str, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(RECIPES / name), run_name="__main__")


def test_what_was_taken_apart_is_put_together_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "start"
    run_recipe(monkeypatch, "unpack.py", "--out", start)
    parts = (
        "--unet",
        start / "unet",
        "--autoencoder",
        start / "autoencoder",
        "--audio-encoder",
        start / "lip_predictor",
    )
    run_recipe(
        monkeypatch,
        "assemble.py",
        *parts,
        "--lip-predictor",
        start / "lip_predictor",
        "--articulation",
        "1",
        "--out",
        tmp_path / "m",
    )
    for part in ("unet", "autoencoder", "audio_encoder"):
        made, shipped = (
            renamed.tensors(load_file(folder / part / "model.safetensors")) for folder in (tmp_path / "m", SHIPPED)
        )
        assert made.keys() == shipped.keys()
        assert all(torch.equal(made[key], shipped[key]) for key in made)


def test_the_shipped_model_is_taken_apart_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_recipe(monkeypatch, "unpack.py", "--out", tmp_path / "start")
    unet = load_component(tmp_path / "start" / "unet", UNet)
    predicted = unet.lip_predictor.head.weight.detach().clone()
    torch.nn.init.zeros_(unet.lip_predictor.head.weight)
    take_lip_predictor(unet, tmp_path / "start" / "lip_predictor")
    assert torch.equal(unet.lip_predictor.head.weight, predicted)
    assert float(predicted.abs().max()) > 0
    lips = LipParameterBasis.from_tensors(load_file(tmp_path / "start" / "lip_predictor" / "lips.safetensors"))
    assert len(lips.scale) == unet.lip_predictor.head.out_features
    opens = lips.opening(torch.eye(len(lips.scale)))
    assert int(opens.argmax()) == 0, "number 0 is how far the mouth opens"


def test_the_mean_of_networks_of_one_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}" if name != "c" else '{"width": 2}', "utf-8")
        save_file({"weight": torch.full((2,), value, dtype=torch.float16)}, tmp_path / name / "model.safetensors")
    run_recipe(monkeypatch, "mean.py", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "m")
    mean = load_file(tmp_path / "m" / "model.safetensors")["weight"]
    assert mean.dtype == torch.float16
    assert mean.tolist() == [1.5, 1.5]
    assert (tmp_path / "m" / "config.json").read_text("utf-8") == "{}"
    with pytest.raises(SystemExit):
        run_recipe(monkeypatch, "mean.py", tmp_path / "a", tmp_path / "c", "--out", tmp_path / "n")
    assert not (tmp_path / "n").exists()
