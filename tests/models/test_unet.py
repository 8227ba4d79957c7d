"""The U-Net against stored numbers, against diffusers' 2-D network, and its switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from golden import fill, wave
from latentsync.core.errors import ConfigError
from latentsync.models import StepCache, UNet

TINY: dict[str, Any] = {
    "in_channels": 13,
    "out_channels": 4,
    "block_out_channels": [32, 64, 64, 64],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 384,
}
MOTION = {**TINY, "use_motion_module": True}


def filled(config: dict[str, Any]) -> UNet:
    unet = UNet.from_config(config).double().eval()
    fill(unet)
    return unet


GOLDEN = [
    (MOTION, 1204, 0.04768528, 0.10333914, (0.04748083, 0.05761343, 0.05472339, 0.05063559),
     (0.04085015, 0.03633185, 0.03321454, 0.03793079)),
    (TINY, 684, 0.04302845, 0.16953980, (0.02121987, 0.01409155, -0.00328829, -0.03760430),
     (0.07107510, 0.06944966, 0.06223554, 0.05602288)),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("config", "tensors", "mean", "std", "first", "late"), GOLDEN, ids=["motion", "none"])
def test_golden_vector(config: dict, tensors: int, mean: float, std: float, first: tuple, late: tuple) -> None:
    unet = filled(config)
    assert len(list(unet.parameters())) == tensors
    y = unet(wave((1, 13, 3, 8, 8), 0.13, 0.2), 501, wave((3, 50, 384), 0.07, 0.5))
    near = {"abs": 1e-5, "rel": 0}
    assert y.mean().item() == pytest.approx(mean, **near)
    assert y.std().item() == pytest.approx(std, **near)
    assert y[0, 0, 0, 0, 0:4].tolist() == pytest.approx(first, **near)
    assert y[0, 3, 2, 7, 4:8].tolist() == pytest.approx(late, **near)
