"""The loaded networks of one model, and pictures between NumPy and them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.core.errors import WeightsError
from latentsync.core.values import Float
from latentsync.generation.conditioning import input_channels
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.unet import UNet

SAMPLES = 4096
"""Values of a tensor that its fingerprint looks at."""
TAKE_TURNS = 4
"""People and interleaved sets that take turns without the ends of their last chunks being forgotten."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The loaded networks of one model, on one device."""

    unet: UNet
    autoencoder: Autoencoder
    audio_encoder: nn.Module
    device: torch.device
    dtype: torch.dtype


def to_pixels(crops: Float, device: torch.device) -> Tensor:
    """(n, H, W, 3) in [0, 1] → (n, 3, H, W) in [−1, 1], float32."""
    return (torch.from_numpy(crops).to(device) * 2).sub_(1).permute(0, 3, 1, 2)


def to_crops(pixels: Tensor) -> Float:
    """(n, 3, H, W) in [−1, 1] → (n, H, W, 3) float32 in [0, 1], what lies beyond cut off."""
    return np.asarray((pixels.permute(0, 2, 3, 1).float() / 2).add_(0.5).clamp_(0, 1).cpu().numpy())


def require_channels(networks: Networks, num_references: int, outputs: Sequence[int]) -> None:
    """Raises: WeightsError: the U-Net does not belong to the autoencoder. Args: outputs: channels that it may give."""
    config = networks.unet.config
    if config.in_channels != input_channels(networks.autoencoder.latent_channels, num_references):
        raise WeightsError(
            f"the U-Net takes {config.in_channels} channels, the autoencoder makes latents for "
            f"{input_channels(networks.autoencoder.latent_channels, num_references)}: "
            "they are not of one model. Use a complete model folder"
        )
    if config.out_channels not in outputs:
        raise WeightsError(
            f"the U-Net gives {config.out_channels} channels, this model's settings allow "
            f"{' or '.join(map(str, outputs))}: they are not of one model. Use a complete model folder"
        )


class OverlapLatents:
    """Latents of the frames that neighbouring chunks share: encoded once.

    On a CPU a batch's size changes no number; elsewhere it may, and a run that goes on would not be the same: there
    `overlap` is to be 0.
    """

    def __init__(self, overlap: int) -> None:
        """Args: overlap: frames at a chunk's end that the next one begins with."""
        self._overlap = overlap
        self._ends: deque[tuple[int, Float, Tensor]] = deque(maxlen=TAKE_TURNS * overlap)

    def encoded(self, crops: Float, frames: Sequence[int], encode: Callable[[Float], Tensor]) -> Tensor:
        """Latents (F, c, h, w). Args: encode: crops (n, R, R, 3) → theirs (n, c, h, w)."""
        known: list[Tensor] = []
        while len(known) < len(frames):
            latents = self._remembered(frames[len(known)], crops[len(known)])
            if latents is None:
                break
            known.append(latents)
        if len(known) < len(frames):
            known += encode(crops[len(known) :])
        if self._overlap:
            ends = slice(-self._overlap, None)
            self._ends.extend(zip(frames[ends], crops[ends].copy(), known[ends], strict=True))
        return torch.stack(known)

    def _remembered(self, frame: int, crop: Float) -> Tensor | None:
        same = (latents for index, own, latents in self._ends if index == frame and np.array_equal(own, crop))
        return next(same, None)


def fingerprint(networks: Networks) -> str:
    """What tells networks apart: names, shapes and samples of all their tensors, number format and kind of device."""
    digest = hashlib.sha256(f"{networks.dtype} {networks.device.type}".encode())
    for part in (networks.unet, networks.autoencoder):
        if not isinstance(part, nn.Module):
            digest.update(repr(type(part)).encode())
            continue
        for name, value in part.state_dict().items():
            flat = value.detach().reshape(-1)
            step = max(1, flat.numel() // SAMPLES)
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()
