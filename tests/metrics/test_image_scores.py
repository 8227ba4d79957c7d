"""Picture scores react to the damage they are named after, in the region they are given."""

import numpy as np
import pytest
from metric_pictures import blurred, clip, mask

from latentsync.metrics import image


def test_psnr_is_the_formula_and_looks_only_at_the_region() -> None:
    real = clip()
    worse = real.copy()
    worse[:, 48:88, 20:76] = np.clip(worse[:, 48:88, 20:76].astype(int) + 5, 0, 255)
    assert image.psnr(worse, real, mask()) == pytest.approx(20 * np.log10(255 / 5), abs=0.01)
    assert image.psnr(worse, real, 1 - mask()) == float("inf")
    assert image.psnr(worse, real) > image.psnr(worse, real, mask())
    with pytest.raises(ValueError, match="shape"):
        image.psnr(real, real[:, :50])


def test_ssim_is_one_for_equals_and_matches_a_direct_sum_at_one_pixel() -> None:
    real = clip(2)
    noisy = np.clip(real + np.random.default_rng(0).normal(0, 12, real.shape), 0, 255).astype(np.uint8)
    assert image.ssim(real, real) == pytest.approx(1.0)
    assert image.ssim(blurred(real, 4), real) < image.ssim(blurred(real, 1), real) < 0.99
    x, y = image.luma(real[0]), image.luma(noisy[0])
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(taps, taps) / taps.sum() ** 2
    a, b = x[35:46, 25:36].astype(np.float64), y[35:46, 25:36].astype(np.float64)
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
    covariance = (window * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 2.55**2, 7.65**2
    direct = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    assert image.ssim_map(x, y)[40, 30] == pytest.approx(direct, abs=1e-3)


def test_sharpness_falls_with_blur_inside_the_region_only() -> None:
    real = clip()
    soft = np.where(mask()[None, ..., None] > 0, blurred(real, 2.0), real)
    assert image.sharpness_ratio(real, real, mask()) == pytest.approx(1.0)
    assert image.sharpness_ratio(soft, real, mask()) < 0.5
    away = 1 - mask()
    away[46:90, 18:78] = 0
    assert image.sharpness_ratio(soft, real, away) == pytest.approx(1.0, abs=1e-6)


def test_bands_tell_grain_from_detail() -> None:
    real = clip(detail=20)
    soft = blurred(real, 1.5)
    fine, *_, coarse = image.band_ratios(soft, real)
    assert fine < 0.1 and coarse > 0.6
    grain = np.random.default_rng(1).normal(0, 8, soft.shape)
    grainy = image.band_ratios(np.clip(soft + grain, 0, 255).astype(np.uint8), real)
    assert grainy[0] > 3 * fine and grainy[2] < 0.6


@pytest.mark.parametrize("step", [-8, 8])
def test_a_patch_is_seen_at_its_border(step: int) -> None:
    real = clip()
    patched = np.clip(real + (step * mask()[None, ..., None]).astype(int), 0, 255).astype(np.uint8)
    assert abs(image.border_step(real, mask())) < 2
    assert image.border_step(patched, mask()) > 4
    with pytest.raises(ValueError, match="border"):
        image.border_step(real, np.ones((96, 96)))


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        image.gradient_energy(clip(1), np.zeros((96, 96)))
