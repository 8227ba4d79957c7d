"""Noise that is a function of a seed and a place, never of what ran before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _generator(*key: int | str) -> torch.Generator:
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def chunk_noise(
    seed: int, frames: Sequence[int], channels: int, height: int, width: int, independent: float = 0.0
) -> Tensor:
    """Starting noise of some frames: (1, c, f, h, w) float32, unit variance.

    Args:
        seed: of the run.
        frames: indices of the frames in the video; a frame met in two chunks gets the same noise in both.
        independent: share α of the variance that differs from frame to frame; 0 = one map for the whole video, as the
            released tool starts (one map does not flicker).
    """
    shared = torch.randn(channels, height, width, generator=_generator(seed, "shared"))
    out = shared[:, None].expand(-1, len(frames), -1, -1).clone()
    if independent > 0:
        own = [torch.randn(channels, height, width, generator=_generator(seed, "frame", int(i))) for i in frames]
        out = math.sqrt(1 - independent) * out + math.sqrt(independent) * torch.stack(own, dim=1)
    return out[None]


def mixed_noise(
    shape: tuple[int, int, int, int, int], alpha: float, generator: torch.Generator | None = None
) -> Tensor:
    """Training noise (B, c, F, h, w): sqrt(α²/(1+α²)) shared by a clip's frames + sqrt(1/(1+α²)) independent.

    Source: mixed noise of the released training (`mixed_noise_alpha`, 1 = half of the variance each). α = inf: one map.
    """
    b, c, _, h, w = shape
    shared = torch.randn(b, c, 1, h, w, generator=generator)
    if math.isinf(alpha):
        return shared.expand(shape).clone()
    own = torch.randn(shape, generator=generator)
    return math.sqrt(alpha**2 / (1 + alpha**2)) * shared + math.sqrt(1 / (1 + alpha**2)) * own
