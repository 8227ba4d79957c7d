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


def noise_like(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Standard normal noise (B, *shape) float32 on the CPU, row b a function of (seeds[b], stream) alone.

    Args: seeds: (B,) int64.
    """
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed((int(seed) * 1_000_003 + stream * 7_919) % (2**63 - 1))
        rows.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(rows)


def uniform_like(seeds: Tensor, stream: int = 0) -> Tensor:
    """(B,) float32 in [0, 1), row b a function of (seeds[b], stream) alone."""
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed((int(seed) * 1_000_003 + stream * 7_919 + 13) % (2**63 - 1))
        rows.append(torch.rand((), generator=generator))
    return torch.stack(rows)
