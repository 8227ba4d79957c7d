"""The part of the latents in which a small U-Net works: around the mouth, where its result is pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from latentsync.models.autoencoder import Autoencoder

MARGIN = 2
"""Cells around the window that are encoded with it: what the encoder's convolutions see of its outermost cells."""


class LatentWindow(NamedTuple):
    """Rows `top` … `bottom` − 1 and columns `left` … `right` − 1 of latent cells."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, edges: Sequence[int] | None, cells: int) -> LatentWindow:
        """The window with these edges in a square of `cells` × `cells`; None = all of it.

        Raises: ValueError: not four whole numbers, or not inside.
        """
        if edges is None:
            return cls(0, cells, 0, cells)
        if len(edges) != 4 or not all(isinstance(edge, int) for edge in edges):
            raise ValueError(f"window {edges}: give four whole numbers: top, bottom, left, right")
        window = cls(*edges)
        if not (0 <= window.top < window.bottom <= cells and 0 <= window.left < window.right <= cells):
            raise ValueError(f"window {tuple(window)} does not lie inside {cells} × {cells} latent cells")
        return window

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.right - self.left

    def around(self, cells: int) -> LatentWindow:
        """The window with its margin, as far as a square of `cells` × `cells` goes: what `encode` looks at."""
        return LatentWindow(
            max(0, self.top - MARGIN), min(cells, self.bottom + MARGIN),
            max(0, self.left - MARGIN), min(cells, self.right + MARGIN),
        )  # fmt: skip

    def cut(self, grid: Tensor) -> Tensor:
        """(…, h, w) of all cells → (…, height, width)."""
        return grid[..., self.top : self.bottom, self.left : self.right]

    def pixels(self, factor: int) -> tuple[slice, slice]:
        """Rows and columns of the crop that the window covers."""
        return slice(self.top * factor, self.bottom * factor), slice(self.left * factor, self.right * factor)

    def encode(self, autoencoder: Autoencoder, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents of the window's cells.

        Only the window and a margin are encoded, so the outermost cells of the margin differ from those of a whole
        crop; a U-Net that was trained on a window meets the same.

        Args: pixels: (n, 3, R, R) in [−1, 1]. generator: of autoencoders that sample.
        Returns: (n, c, height, width).
        """
        rows, columns = self.around(pixels.shape[-1] // autoencoder.factor).pixels(autoencoder.factor)
        return self.encode_part(autoencoder, pixels[:, :, rows, columns], generator)

    def encode_part(self, autoencoder: Autoencoder, part: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The same of what `encode` looks at alone: the pixels of `around`, (n, 3, H, W) in [−1, 1]."""
        latents = autoencoder.encode(part.contiguous(memory_format=torch.channels_last), generator)
        top, left = min(self.top, MARGIN), min(self.left, MARGIN)
        return latents[:, :, top : top + self.height, left : left + self.width]
