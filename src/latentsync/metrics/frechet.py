"""Fréchet distance of feature distributions: FID with a picture network, FVD with a video network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """A network that scores are computed with; the name travels with every figure, as figures of two networks differ.

    Attributes:
        name: e.g. "inception-v3 (FID)", "i3d (FVD)", "stand-in".
        features: (B, …) float32 in [0, 1] → (B, D) float. Pictures are (B, 3, H, W), videos (B, 3, F, H, W).
    """

    name: str
    features: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Frechet:
    """The distance, the network it was taken with, and how many samples each side had."""

    distance: float
    network: str
    num_a: int
    num_b: int


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½) of two feature sets, (N, D) each, with sample covariances.

    With Σ = AᵀA, tr (Σ₁Σ₂)^½ is the sum of the singular values of A₁A₂ᵀ: no matrix root, no complex rounding. Fewer
    samples than D bias the distance upwards: state the counts.

    Raises: ValueError: fewer than two samples or different D.
    Source: Heusel et al. 2017 (FID); Unterthiner et al. 2018 (FVD).
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features: shapes {a.shape} and {b.shape}, expected (N ≥ 2, D) with equal D")
    centred_a, centred_b = _root(a), _root(b)
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    mean = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    return max(0.0, mean + float((centred_a**2).sum() + (centred_b**2).sum() - 2 * cross))


def _root(samples: np.ndarray) -> np.ndarray:
    """A with AᵀA = sample covariance: the centred samples over √(n − 1), or their triangular factor where n > D."""
    centred = (samples - samples.mean(axis=0)) / np.sqrt(len(samples) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))


def frechet(network: FeatureNetwork, a: Iterable[np.ndarray], b: Iterable[np.ndarray]) -> Frechet:
    """Fréchet distance between two streams of batches, see `FeatureNetwork.features` for their layout."""
    ours = np.concatenate([np.asarray(network.features(batch)) for batch in a])
    theirs = np.concatenate([np.asarray(network.features(batch)) for batch in b])
    return Frechet(frechet_distance(ours, theirs), network.name, len(ours), len(theirs))


def fvd_clip(crops: np.ndarray, start: int = 20, num_frames: int = 16) -> np.ndarray:
    """The 16 frames from frame 20 which the reference's FVD looks at: (F, H, W, 3) uint8 → (1, 3, 16, H, W) in [0, 1].

    Shorter clips start earlier. Raises: ValueError: fewer than `num_frames`. Source: the released tool's FVD.
    """
    if len(crops) < num_frames:
        raise ValueError(f"{len(crops)} frames are too few for FVD, which needs {num_frames}")
    first = min(start, len(crops) - num_frames)
    part = np.asarray(crops[first : first + num_frames], dtype=np.float32) / 255
    return np.ascontiguousarray(part.transpose(3, 0, 1, 2))[None]
