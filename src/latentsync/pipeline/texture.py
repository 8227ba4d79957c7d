"""Fine texture of still references that an autoencoder loses, given back to what is drawn from them.

A residual model draws the change from a reference's latents. Where it changes nothing, the decoder still blurs: pores,
beards and the line between the lips go through a small autoencoder. What was lost of a reference is known exactly, its
crop minus its decoded latents, and belongs wherever the drawing is still that reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.core.values import Float
from latentsync.faces.repose import crop_terms, repose
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.window import LatentWindow
from latentsync.pipeline.stills import References

SAME, OTHER = 0.6, 1.6
"""Root mean square change of a latent cell, of variance 1: up to the first the texture is given back whole, from the
second on not at all. Chosen by eye on four faces: with more the chin and the lips of a closed mouth show behind those
of an open one, with less a beard is blurred while the mouth moves."""
REMEMBERED = 4
"""Tracks whose texture is kept; people of a film take turns."""


class LostTexture:
    """What the autoencoder loses of references, found once for each track."""

    def __init__(
        self, autoencoder: Autoencoder, window: LatentWindow, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._autoencoder, self._window, self._device, self._dtype = autoencoder, window, device, dtype
        self._known: deque[tuple[Float, Float]] = deque(maxlen=REMEMBERED)

    def give_back(self, decoded: Float, made: Tensor, stills: Tensor, references: References) -> None:
        """Add it to decoded crops, in place.

        Args:
            decoded: (F, H, W, 3) float32 in [0, 1], the window's pixels.
            made: (F, c, h, w) latents that were drawn, float32.
            stills: (F, n·c, h, w) latents of the references.
            references: of the chunk. Where a cell is like several of them, the first comes first.
        """
        losses = self._of(references.pictures)
        rows, columns = self._window.pixels(self._autoencoder.factor)
        at = np.ascontiguousarray(crop_terms(losses.shape[1])[rows, columns])
        for i, share in enumerate(self._shares(made, stills)):
            for k in np.flatnonzero(share.any(axis=(1, 2))):
                moves = references.moves
                turned = losses[i, rows, columns] if moves is None else repose(losses[i], moves[k, i], at)
                picture = decoded[k]
                picture += share[k, :, :, None] * turned
                np.clip(picture, 0, 1, out=picture)

    def _shares(self, made: Tensor, stills: Tensor) -> Iterator[Float]:
        """For each reference (F, H, W): how much of it is left."""
        count, c = made.shape[:2]
        free = torch.ones(count, 1, *made.shape[2:], device=made.device)
        for still in stills.split(c, dim=1):
            change = (made - still.float()).square().mean(1, keepdim=True).sqrt()
            share = free * ((OTHER - change) / (OTHER - SAME)).clamp(0, 1)
            free = free - share
            wide = functional.interpolate(share, scale_factor=self._autoencoder.factor, mode="bilinear")
            yield wide[:, 0].cpu().numpy()

    def _of(self, pictures: Float) -> Float:
        """(n, R, R, 3) of each picture; 0 outside the window."""
        for known, lost in self._known:
            if known is pictures:
                return lost
        pixels = torch.from_numpy(pictures).to(self._device, self._dtype).permute(0, 3, 1, 2) * 2 - 1
        latents = self._window.encode(self._autoencoder, pixels).contiguous(memory_format=torch.channels_last)
        decoded = self._autoencoder.decode(latents).float().permute(0, 2, 3, 1).cpu().numpy() / 2 + 0.5
        lost = np.zeros_like(pictures)
        rows, columns = self._window.pixels(self._autoencoder.factor)
        lost[:, rows, columns] = pictures[:, rows, columns] - decoded
        self._known.append((pictures, lost))
        return lost
