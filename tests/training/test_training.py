"""Parts that several tasks share: clips on disk, losses of pictures, the input and region of the few-step U-Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.core.errors import LatentSyncError
from latentsync.generation.conditioning import generated_cells
from latentsync.training.datasets.clip_files import load_clips
from latentsync.training.losses.laplacian import laplacian_loss
from latentsync.training.tasks.tiny_unet.objective import assemble


def test_no_clips_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match="no prepared clips of split 'train'"):
        load_clips(tmp_path, "train")


def test_the_laplacian_loss_sees_every_scale_and_nothing_in_equal_pictures() -> None:
    x = torch.rand(1, 3, 32, 32)
    assert laplacian_loss(x, x) == 0
    fine = x + 0.1 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    assert float(laplacian_loss(fine, x)) == pytest.approx(0.1, rel=1e-4)
    # four by four blocks of ±0.1: gone after two halvings, so only the third band differs
    blocks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    coarse = x + 0.1 * blocks.repeat(4, 4)
    assert float(laplacian_loss(coarse, x)) == pytest.approx(0.1, rel=1e-4)


def test_the_input_has_the_methods_order() -> None:
    noisy = torch.full((1, 2, 3, 4, 4), 1.0)
    masked, reference = torch.full((1, 3, 2, 4, 4), 3.0), torch.full((1, 3, 2, 4, 4), 4.0)
    made = assemble(noisy, torch.full((4, 4), 2.0), masked, reference)
    assert made[0, :, 0, 0, 0].tolist() == [1, 1, 2, 3, 3, 4, 4]


def test_the_region_holds_every_touched_cell_and_its_neighbours() -> None:
    mask = torch.zeros(64, 64)
    mask[17, 40] = 1  # cell (1, 2) of 4 × 4
    assert generated_cells(mask, 16).nonzero().tolist() == [[r, c] for r in (0, 1, 2) for c in (1, 2, 3)]
