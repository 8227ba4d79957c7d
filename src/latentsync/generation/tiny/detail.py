"""Fine texture of latent references that an autoencoder loses, given back to what is drawn from them.

A residual model draws the change from a reference's latents. Where it changes nothing, the decoder latent blurs: pores,
beards and the line between the lips go through a small autoencoder. What was lost of a reference is known exactly, its
crop minus its decoded latents, and belongs wherever the drawing is latent that reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.core.values import Float
from latentsync.generation.tiny.references import ChunkReferences, ReferenceMaps

SAME, OTHER = 0.6, 1.6
"""Root mean square change of a latent cell, of variance 1: up to the first the texture is given back whole, from the
second on not at all. Chosen by eye on four faces: with more the chin and the lips of a closed mouth show behind those
of an open one, with less a beard is blurred while the mouth moves."""
REMEMBERED = 4
"""Tracks whose texture is kept; people of a film take turns."""


class DetailResidual:
    """What an autoencoder loses of references, found once for each track."""

    def __init__(self, rendered: Callable[[Float], Float], window: tuple[slice, slice], factor: int) -> None:
        """Args:
        rendered: pictures (n, R, R, 3) in [0, 1] → what is left of them after encoding and decoding, (n, H, W, 3).
        window: rows and columns of the pictures that this is. factor: side of a latent cell, pixels.
        """
        self._rendered, self._window, self._factor = rendered, window, factor
        self._known: deque[tuple[Float, Float]] = deque(maxlen=REMEMBERED)

    def give_back(
        self,
        decoded: Float,
        generated: Tensor,
        latents: Tensor,
        references: ChunkReferences,
        maps: ReferenceMaps | None,
    ) -> None:
        """Add it to decoded crops, in place.

        Args:
            decoded: (F, H, W, 3) float32 in [0, 1], the window's pixels.
            generated: (F, c, h, w) latents that were drawn, float32.
            latents: (F, n·c, h, w) latents of the references.
            references: of the chunk. Where a cell is like several of them, the first comes first.
            maps: of the references, where they are warped.
        """
        losses = self._of(references.pictures)
        rows, columns = self._window
        for i, share in enumerate(self._shares(generated, latents)):
            for k in np.flatnonzero(share.any(axis=(1, 2))):
                lost = losses[i, rows, columns] if maps is None else maps.shown(losses, i, int(k), self._window)
                decoded[k] += share[k, :, :, None] * lost
        np.clip(decoded, 0, 1, out=decoded)

    def _shares(self, generated: Tensor, latents: Tensor) -> Iterator[Float]:
        """For each reference (F, H, W): how much of it is left."""
        count, c = generated.shape[:2]
        free = torch.ones(count, 1, *generated.shape[2:], device=generated.device)
        for latent in latents.split(c, dim=1):
            change = (generated - latent.float()).square().mean(1, keepdim=True).sqrt()
            share = free * ((OTHER - change) / (OTHER - SAME)).clamp(0, 1)
            free = free - share
            wide = functional.interpolate(share, scale_factor=self._factor, mode="bilinear")
            yield wide[:, 0].cpu().numpy()

    def _of(self, pictures: Float) -> Float:
        """(n, R, R, 3) of each picture; 0 outside the window."""
        for known, lost in self._known:
            if known is pictures:
                return lost
        lost = np.zeros_like(pictures)
        rows, columns = self._window
        lost[:, rows, columns] = pictures[:, rows, columns] - self._rendered(pictures)
        self._known.append((pictures, lost))
        return lost
