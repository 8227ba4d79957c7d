"""No-reference picture quality without a network or a download: what the data filter uses and evaluation reports."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.metrics.image import luma


@dataclass(frozen=True, slots=True)
class Quality:
    """Parts of the score of one picture.

    Attributes:
        sharpness: share of the fine variation that a small blur takes away, 0 (already blurred) … 1.
        noise: estimated standard deviation of grain, levels of 255.
        blockiness: gradient on the 8-pixel grid over the gradient beside it, less 1; about 0 without block artefacts.
        clipped: share of pixels at black or white.
        contrast: spread (5 to 95 %) of the luma, levels of 255.
    """

    sharpness: float
    noise: float
    blockiness: float
    clipped: float
    contrast: float

    @property
    def score(self) -> float:
        """0 (unusable) … 100 (clean and sharp): product of the parts, each mapped to [0, 1].

        Ramps chosen by eye on blurred, compressed, noisy and dark versions of studio faces; monotone in each damage
        (tests/metrics/test_quality_score.py). It is not HyperIQA, whose file a user can give to the data pipeline.
        """
        sharp = _ramp(self.sharpness, 0.15, 0.55)
        clean = 1 - _ramp(self.noise, 3.0, 30.0)
        smooth = 1 - _ramp(self.blockiness, 0.1, 1.0)
        exposed = 1 - _ramp(self.clipped, 0.05, 0.5)
        return 100 * sharp * clean * smooth * exposed * _ramp(self.contrast, 5.0, 60.0)


def quality(picture: np.ndarray) -> Quality:
    """Judge one picture, e.g. an aligned face: (H, W, 3) uint8 RGB, sides at least 32 px.

    Source: sharpness after Crete et al. 2007 (re-blur, 9-tap mean), noise after Immerkær 1996, blockiness after
        Wang, Sheikh & Bovik 2002 (8-pixel grid); simplified here.
    """
    light = luma(picture)
    if light.ndim != 2 or min(light.shape) < 32:
        raise ValueError(f"picture: shape {np.shape(picture)}, expected (H, W, 3) with sides of at least 32")
    noise = _grain(light)
    low, high = np.percentile(light, [5, 95])
    return Quality(
        sharpness=min(_reblur(light, noise), _reblur(light.T, noise)),
        noise=noise,
        blockiness=max(_blocks(light), _blocks(light.T)),
        clipped=float(((light <= 2) | (light >= 253)).mean()),
        contrast=float(high - low),
    )


def _reblur(light: np.ndarray, noise: float) -> float:
    """Share of the variation along the columns that a 9-tap mean takes away, not counting what grain adds to it.

    Grain of standard deviation σ alone has a mean step of 2σ/√π, and steps of picture and grain add as squares.
    """
    before = np.abs(np.diff(light, axis=0))
    after = np.abs(np.diff(cv2.blur(light, (1, 9), borderType=cv2.BORDER_REFLECT_101), axis=0))
    total, taken = float(before.mean()), float(np.maximum(before - after, 0).mean())
    picture = float(np.sqrt(max(total**2 - (2 * noise) ** 2 / np.pi, 0.0)))
    return max(0.0, taken - (total - picture)) / picture if picture > 1e-3 else 0.0


def _grain(light: np.ndarray) -> float:
    """Standard deviation of noise from the Laplacian-of-Laplacian kernel; the calmest half of the picture only.

    Texture and edges look like noise to the kernel, so the median of its magnitude is taken instead of the mean.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    response = np.abs(cv2.filter2D(light, -1, kernel)[1:-1, 1:-1])
    return float(np.median(response) / 0.6745 / 6)


def _blocks(light: np.ndarray) -> float:
    """Mean step across the strongest of the 8 possible 8-pixel grids over the mean of the other seven, less 1."""
    step = np.abs(np.diff(light, axis=1)).mean(axis=0)
    means = np.array([step[phase::8].mean() for phase in range(8)])
    others = (means.sum() - means.max()) / 7
    return float(max(0.0, means.max() / others - 1)) if others > 0 else 0.0


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))
