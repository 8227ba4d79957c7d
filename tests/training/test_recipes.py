"""The scripts of recipes/tiny that need no data."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.models import UNet
from latentsync.training.features import load_component
from latentsync.training.lip_shape import LipCode
from latentsync.training.tasks.few_step import take_ear

RECIPES = Path(__file__).parents[2] / "recipes" / "tiny"


def test_the_shipped_model_is_taken_apart_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["unpack.py", "--out", str(tmp_path / "start")])
    runpy.run_path(str(RECIPES / "unpack.py"), run_name="__main__")
    unet = load_component(tmp_path / "start" / "unet", UNet)
    told = unet.ear.head.weight.detach().clone()
    torch.nn.init.zeros_(unet.ear.head.weight)
    take_ear(unet, tmp_path / "start" / "ear")
    assert torch.equal(unet.ear.head.weight, told)
    assert float(told.abs().max()) > 0
    lips = LipCode.from_tensors(load_file(tmp_path / "start" / "ear" / "lips.safetensors"))
    assert len(lips.scale) == unet.ear.head.out_features
    opens = lips.opening(torch.eye(len(lips.scale)))
    assert int(opens.argmax()) == 0, "number 0 is how far the mouth opens"
