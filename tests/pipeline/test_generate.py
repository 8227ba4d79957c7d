"""Still references that are turned with the head: how often they are encoded, and what frames between get."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.config.options import SyncOptions
from latentsync.diffusion.sampling import SamplerConfig
from latentsync.pipeline.generate import Generator, Networks
from latentsync.pipeline.settings import ModelSettings
from latentsync.pipeline.stills import References

SIDE, FACTOR = 64, 4
SETTINGS = ModelSettings(
    resolution=SIDE, num_frames=8, still_reference=True, posed_references=True, residual=True,
    sampler=SamplerConfig(kind="flow", prediction="x0", steps=1, guidance=1.0),
)  # fmt: skip


class Means:
    """Mean colours of cells as latents."""

    factor, latent_channels = FACTOR, 3

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, pixels: Tensor, generator: Any = None) -> Tensor:
        self.encoded += len(pixels)
        return functional.avg_pool2d(pixels, FACTOR)

    def decode(self, latents: Tensor) -> Tensor:
        return functional.interpolate(latents, scale_factor=FACTOR)


class Unchanged:
    """A U-Net that draws no difference from the reference."""

    config = SimpleNamespace(in_channels=3 * Means.latent_channels + 1)

    def __call__(self, sample: Tensor, timestep: Tensor, heard: Tensor, cache: Any = None) -> Tensor:
        return torch.zeros(1, Means.latent_channels, *sample.shape[2:])


@pytest.mark.parametrize(("step_px", "encoded"), [(0.0, 1), (0.02, 1), (0.3, 4), (1.2, 8)])
def test_references_of_a_moving_head_are_encoded_seldom_and_mixed_between(step_px: float, encoded: int) -> None:
    """A ramp of grey moves by so many pixels a frame, as on crops of 256; a mixture of two ramps is the one between.
    OpenCV finds places to 1/32 pixel."""
    step = step_px / 256
    autoencoder: Any = Means()
    unet: Any = Unchanged()
    networks = Networks(unet, autoencoder, torch.nn.Identity(), torch.device("cpu"), torch.float32)
    generator = Generator(networks, SETTINGS, SyncOptions())
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[None, :, None], (SIDE, SIDE, 3)).copy()
    moves = np.zeros((8, 1, 4, 2), np.float32)
    moves[:, :, :2] = np.eye(2)
    moves[:, :, 3] = (0.5, 0.42)
    moves[:, 0, 3, 0] += np.arange(8) * step
    crops = np.zeros((8, SIDE, SIDE, 3), np.float32)
    made = generator(crops, torch.zeros(8, 1, 1), range(8), References(ramp[None], moves))
    assert autoencoder.encoded == 8 + encoded  # the masked frames, and the references
    middle = made[:, SIDE // 2, SIDE // 2, 0]
    moved = np.arange(8) * step * (0.6 * SIDE / (SIDE - 1))
    if encoded == 1:
        moved[:] = 0
    np.testing.assert_allclose(middle - middle[0], moved, atol=2 * 0.6 / SIDE / 32)
