"""Fine texture of a still reference that an autoencoder loses, given back to what is drawn from that reference.

A residual model draws the change from a reference's latents. Where it changes nothing, the decoder still blurs: pores,
beards and the line between the lips go through a small autoencoder. What was lost of the reference is known exactly,
its crop minus its decoded latents, and belongs wherever the drawing is still the reference.
"""

from __future__ import annotations

from collections import deque

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

    def give_back(self, decoded: Float, change: Tensor, references: References) -> None:
        """Add it to decoded crops, in place.

        Args:
            decoded: (F, H, W, 3) float32 in [0, 1], the window's pixels.
            change: (F, c, h, w) latents of the window less those of the reference they were drawn from.
            references: of the chunk; the texture is that of the first picture, turned as that is.
        """
        lost = self._of(references.pictures)
        weight = (OTHER - change.float().square().mean(1, keepdim=True).sqrt()) / (OTHER - SAME)
        cells = weight.clamp(0, 1)
        shares = functional.interpolate(cells, scale_factor=self._autoencoder.factor, mode="bilinear").cpu().numpy()
        rows, columns = self._window.pixels(self._autoencoder.factor)
        at = np.ascontiguousarray(crop_terms(len(lost))[rows, columns])
        for k, picture in enumerate(decoded):
            moves = references.moves
            turned = lost[rows, columns] if moves is None else repose(lost, moves[k, 0], at)
            picture += shares[k, 0, :, :, None] * turned
            np.clip(picture, 0, 1, out=picture)

    def _of(self, pictures: Float) -> Float:
        """(R, R, 3) of the first picture; 0 outside the window."""
        for known, lost in self._known:
            if known is pictures:
                return lost
        still = pictures[0]
        pixels = torch.from_numpy(still).to(self._device, self._dtype).permute(2, 0, 1)[None] * 2 - 1
        latents = self._window.encode(self._autoencoder, pixels).contiguous(memory_format=torch.channels_last)
        decoded = self._autoencoder.decode(latents).float()[0].permute(1, 2, 0).cpu().numpy() / 2 + 0.5
        lost = np.zeros_like(still)
        rows, columns = self._window.pixels(self._autoencoder.factor)
        lost[rows, columns] = still[rows, columns] - decoded
        self._known.append((pictures, lost))
        return lost
