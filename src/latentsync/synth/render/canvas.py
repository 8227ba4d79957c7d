"""Light set-up and buffers of one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.core.values import Float


@dataclass(frozen=True, eq=False)
class Light:
    """Key, fill and rim light, ambient from above and below, exposure. Linear colours.

    Attributes:
        directions, colours: (3, 3). sky, ground, tint: (3,). gloss: multiplies the shine of skin.
    """

    directions: Float
    colours: Float
    sky: Float
    ground: Float
    tint: Float
    exposure: float
    gloss: float


class Canvas:
    """Buffers for pictures of one size; shared by all heads of a worker."""

    def __init__(self, size_px: int, shadow_px: int = 384) -> None:
        self.size = size_px
        self.z = np.zeros((2 * size_px, 2 * size_px), np.float32)
        self.index = np.zeros((2 * size_px, 2 * size_px), np.int32)
        self.colour = np.zeros((size_px, size_px, 3), np.float32)
        self.cover = np.zeros((size_px, size_px), np.float32)
        self.summed = np.zeros((size_px, size_px, 4), np.float32)
        self.out = np.zeros((size_px, size_px, 3), np.uint8)
        self.shadow = np.zeros((shadow_px, shadow_px), np.float32)
