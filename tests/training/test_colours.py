"""Colours of made mouths against the real ones."""

from __future__ import annotations

import pytest
import torch

from latentsync.training.losses.colours import colour_distance, spread_distance


def test_colours_differ_by_hue_and_not_by_brightness() -> None:
    grey = torch.zeros(1, 3, 8, 8)
    assert float(colour_distance(grey + 0.5, grey)) == pytest.approx(0, abs=1e-6)
    green = grey.clone()
    green[:, 1] += 0.3
    assert float(colour_distance(green, grey)) == pytest.approx(0.4 / 3, rel=1e-4)


def test_colours_between_lips_are_compared_in_no_matter_which_order() -> None:
    inside = torch.zeros(2, 16, 16, dtype=torch.bool)
    inside[0, 4:12, 4:12] = True  # the second mouth is closed
    real = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    other = real.clone()
    other[0, :, 4:12, 4:12] = real[0, :, 4:12, 4:12].flip(1, 2)
    other[0, :, :4], other[1] = 1.0, -1.0  # not between lips
    assert float(spread_distance(other, real, inside)) == pytest.approx(0, abs=1e-6)
    grey = other.clone()
    grey[0, :, 4:12, 4:12] = real[0, :, 4:12, 4:12].mean((1, 2), keepdim=True)
    assert float(spread_distance(grey, real, inside)) > 0.2
    brighter = other + 0.1
    assert float(spread_distance(brighter, real, inside)) == pytest.approx(0.1, abs=1e-5)
    assert float(spread_distance(grey, real, torch.zeros_like(inside))) == 0
