"""Masks against the counts and rows of the released bitmaps (docs/method.md#masks)."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.core.errors import ConfigError
from latentsync.faces import inpaint_mask, latent_mask

COUNTS = {"mask": 26673, "mask2": 22119, "mask3": 12651, "mask4": 38303}


@pytest.mark.parametrize("name", COUNTS)
def test_pixel_counts_at_256(name: str) -> None:
    mask = inpaint_mask(256, name)
    assert mask.shape == (256, 256) and mask.dtype == np.float32
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert int(mask.sum()) == COUNTS[name]


def test_the_notch_keeps_the_nose() -> None:
    mask = inpaint_mask(256)
    assert np.flatnonzero(mask[95]).tolist() == [*range(9, 78), *range(178, 247)]
    assert not mask[94].any() and not mask[243].any()
    assert np.flatnonzero(mask[128])[[0, -1]].tolist() == [9, 247]
    assert np.flatnonzero(mask[242])[[0, -1]].tolist() == [131, 152]


def test_enlargement_to_512_has_the_released_soft_edge() -> None:
    mask = inpaint_mask(512)
    keep = np.rint((1 - mask) * 255).astype(int)
    assert np.count_nonzero((keep > 0) & (keep < 255)) == 9186
    assert len(np.unique(keep)) == 136


def test_latent_mask_at_256() -> None:
    latent = latent_mask(inpaint_mask(256))
    assert latent.shape == (32, 32) and int(latent.sum()) == 422
    spans = {16: (2, 30), 22: (2, 30), 23: (3, 29), 24: (4, 28), 25: (5, 27), 26: (5, 27), 27: (7, 25), 28: (8, 24),
             29: (10, 22), 30: (13, 20)}  # fmt: skip
    for row, (first, last) in spans.items():
        assert np.flatnonzero(latent[row]).tolist() == list(range(first, last + 1))
    for row in range(12, 16):
        assert np.flatnonzero(latent[row]).tolist() == [*range(2, 10), *range(23, 31)]
    assert not latent[:12].any() and not latent[31].any()


def test_latent_mask_at_512() -> None:
    latent = latent_mask(inpaint_mask(512))
    assert int((latent == 1).sum()) == 1604 and int((latent == 0).sum()) == 2359


@pytest.mark.parametrize("resolution", [128, 384, 512])
@pytest.mark.parametrize("name", COUNTS)
def test_scaled_outlines_cover_the_same_share(resolution: int, name: str) -> None:
    mask = inpaint_mask(resolution, name, compatible=False)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert mask.mean() == pytest.approx(COUNTS[name] / 65536, abs=0.004)
    assert inpaint_mask(resolution, name).mean() == pytest.approx(COUNTS[name] / 65536, abs=0.004)


def test_bad_requests_say_what_to_choose() -> None:
    with pytest.raises(ConfigError, match="mask2"):
        inpaint_mask(256, "mouth")
    with pytest.raises(ConfigError):
        inpaint_mask(4)
    with pytest.raises(ValueError, match="multiples"):
        latent_mask(inpaint_mask(100), 8)
