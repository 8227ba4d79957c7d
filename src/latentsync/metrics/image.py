"""Picture scores inside a region: SSIM, PSNR, sharpness, and how visible the border of a pasted patch is.

Clips are (F, H, W, 3) uint8 RGB. A region is (H, W) float weights in [0, 1], e.g. the inpaint mask; None = everywhere.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11


def luma(pictures: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 RGB → (…) float32 luma in 0 … 255 (BT.601 weights)."""
    return np.asarray(pictures, dtype=np.float32) @ LUMA


def psnr(a: np.ndarray, b: np.ndarray, region: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of two clips in dB, mean squared error taken over all frames; equal clips give inf."""
    _same_shape(a, b)
    squared = ((np.asarray(a, np.float32) - np.asarray(b, np.float32)) ** 2).mean(axis=-1)
    error = float(_mean(squared, region))
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(a: np.ndarray, b: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean structural similarity of two clips, on luma, its map averaged over the region and all frames.

    Source: Wang et al. 2004 (11×11 Gaussian, σ = 1.5, K₁ = 0.01, K₂ = 0.03).
    """
    _same_shape(a, b)
    maps = [ssim_map(luma(x), luma(y)) for x, y in zip(_clip(a), _clip(b), strict=True)]
    return float(_mean(np.stack(maps), region))


def ssim_map(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM at each pixel of two (H, W) float32 pictures in 0 … 255; same shape, borders reflected."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def _blur(x: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(x, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT_101)


def gradient_energy(clip: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean squared luma gradient (central differences) over the region and all frames, (levels per pixel)²."""
    energies = []
    for picture in _clip(clip):
        down, right = np.gradient(luma(picture))
        energies.append(down**2 + right**2)
    return float(_mean(np.stack(energies), region))


def sharpness_ratio(clip: np.ndarray, real: np.ndarray, region: np.ndarray | None = None) -> float:
    """Gradient energy of a clip over that of the real one: 1 = as sharp, below = blurred, above = noisy.

    Frames need not show the same mouth; the average over a sentence is compared.
    """
    real_energy = gradient_energy(real, region)
    return gradient_energy(clip, region) / real_energy if real_energy > 0 else float("nan")


def band_ratios(
    clip: np.ndarray, real: np.ndarray, region: np.ndarray | None = None, num_bands: int = 4
) -> tuple[float, ...]:
    """Energy of each octave of detail over the real clip's, finest first (differences of Gaussians, σ = 0.7·2ᵏ).

    A single gradient figure can be right by accident (grain instead of teeth); the octaves tell which detail is
    missing. Needs no network.
    """
    ours, theirs = _bands(clip, region, num_bands), _bands(real, region, num_bands)
    return tuple(float(x / y) if y > 0 else float("nan") for x, y in zip(ours, theirs, strict=True))


def _bands(clip: np.ndarray, region: np.ndarray | None, num_bands: int) -> np.ndarray:
    totals = []
    for picture in _clip(clip):
        light = luma(picture)
        levels = [light] + [cv2.GaussianBlur(light, (0, 0), 0.7 * 2**k) for k in range(num_bands)]
        totals.append([_mean((fine - coarse) ** 2, region) for fine, coarse in pairwise(levels)])
    return np.asarray(totals, dtype=np.float64).mean(axis=0)


def border_step(clip: np.ndarray, inpaint_mask: np.ndarray, num_parts: int = 24, offset_px: float = 4.0) -> float:
    """How visible the outline of the generated region is, in luma levels (0 … 255).

    A patch makes the same step in or out along a whole stretch of the border, skin texture does not. So: the signed
    step across the border (mean luma just inside minus just outside), averaged over stretches of the border, absolute,
    averaged; minus the same at two parallel lines `offset_px` inside and outside, where there is no border. About 0 for
    an untouched picture; negative values mean that nothing stands out. Compare with the untouched clip's own value.

    Args:
        inpaint_mask: (H, W) 1 = generated; its 0.5 contour is the border.
        num_parts: stretches, by angle around the mask's centre.
        offset_px: distance of the parallel lines.
    Source: defined here; parts and offset chosen by eye at 256 px.
    """
    binary = (np.asarray(inpaint_mask) >= 0.5).astype(np.uint8)
    if not binary.any() or binary.all():
        raise ValueError("inpaint_mask has no border")
    inside = cv2.distanceTransform(binary, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - binary, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.where(binary > 0, inside - 0.5, 0.5 - outside)
    rows, columns = np.nonzero(binary)
    y, x = np.mgrid[: binary.shape[0], : binary.shape[1]]
    angle = np.arctan2(y - rows.mean(), x - columns.mean())
    part = np.minimum(((angle + np.pi) / (2 * np.pi) * num_parts).astype(int), num_parts - 1)
    light = luma(clip)
    steps = [_step(light, depth, part, num_parts, at) for at in (0.0, -offset_px, offset_px)]
    return steps[0] - (steps[1] + steps[2]) / 2


def _step(light: np.ndarray, depth: np.ndarray, part: np.ndarray, num_parts: int, at: float) -> float:
    """Mean |inside − outside| of the line at depth `at`, two pixels on each side, over parts and frames."""
    inner, outer = (depth > at) & (depth <= at + 2), (depth <= at) & (depth > at - 2)
    found = []
    for index in range(num_parts):
        here = part == index
        a, b = inner & here, outer & here
        if a.sum() >= 4 and b.sum() >= 4:
            found.append(np.abs(light[:, a].mean(axis=1) - light[:, b].mean(axis=1)))
    return float(np.mean(found)) if found else 0.0


def _clip(pictures: np.ndarray) -> np.ndarray:
    array = np.asarray(pictures)
    if array.ndim != 4 or array.shape[-1] != 3:
        raise ValueError(f"clip: shape {array.shape}, expected (F, H, W, 3)")
    return array


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if _clip(a).shape != _clip(b).shape:
        raise ValueError(f"clips differ in shape: {a.shape} and {b.shape}")


def _mean(values: np.ndarray, region: np.ndarray | None) -> float:
    if region is None:
        return float(np.mean(values, dtype=np.float64))
    weight = np.broadcast_to(np.asarray(region, dtype=np.float64), values.shape)
    total = float(weight.sum())
    if total <= 0:
        raise ValueError("the region is empty")
    return float((values * weight).sum() / total)
