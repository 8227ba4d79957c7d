"""The window of latents: what it cuts and encodes, and which windows are refused."""

from __future__ import annotations

import pytest
import torch

from latentsync.generation.tiny.window import LatentWindow
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig


def coder() -> TinyAutoencoder:
    torch.manual_seed(0)
    return TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8))).requires_grad_(False)


def test_the_whole_grid_is_encoded_as_without_a_window() -> None:
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    window = LatentWindow.of(None, 8)
    assert window == (0, 8, 0, 8)
    torch.testing.assert_close(window.encode(coder(), pixels), coder().encode(pixels), rtol=0, atol=1e-6)


def test_a_window_holds_its_cells_and_sees_no_more_than_its_margin() -> None:
    torch.manual_seed(1)
    pixels = torch.rand(1, 3, 128, 128) * 2 - 1
    window = LatentWindow.of((6, 10, 5, 11), 16)
    made = window.encode(coder(), pixels)
    assert made.shape == (1, 4, 4, 6)
    whole = window.cut(coder().encode(pixels))
    assert float((made - whole)[:, :, 1:-1, 1:-1].abs().max()) < 0.2 * float(whole.std())
    far = pixels.clone()
    far[:, :, :32] = 0  # rows 0 to 3 of cells: beyond the margin
    assert torch.equal(window.encode(coder(), far), made)
    rows, columns = window.pixels(8)
    assert (rows, columns) == (slice(48, 80), slice(40, 88))


@pytest.mark.parametrize("edges", [(0, 8, 0), (0, 9, 0, 8), (4, 4, 0, 8), (-1, 4, 0, 8), (0.0, 8, 0, 8)])
def test_windows_outside_the_grid_are_refused(edges: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="window"):
        LatentWindow.of(edges, 8)
