"""One map of the skin while it is painted, and where beards grow on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synth.arrays import Real
from latentsync.synth.face.fields import smoothstep


@dataclass
class Layer:
    """One map while it is being painted: display colour (H, W, 3), relief in cm, specular weight and gloss (H, W)."""

    points: Real
    colour: Real
    relief: Real
    specular: Real
    gloss: Real

    def cover(self, amount: Real, colour: Real) -> None:
        """Lay `colour` over the map with opacity `amount` (H, W)."""
        a = amount[..., None]
        self.colour = self.colour * (1 - a) + colour * a

    def darken(self, amount: Real, weights: tuple[float, float, float] = (1, 1, 1)) -> None:
        """Multiply the colour by 1 − amount · weights."""
        self.colour = self.colour * (1 - amount[..., None] * np.asarray(weights, np.float32))


def beard_area(points: Real) -> Real:
    """Where a beard grows, in [0, 1]: chin, jaw, cheeks up to the sideburn, moustache and the corners of the mouth."""
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    jaw = smoothstep(-1.9, -3.7, y - 0.38 * np.clip(x - 2.6, 0, 9)) * smoothstep(-13, -9.5, y)
    cheek = smoothstep(3.4, 5.2, x) * smoothstep(2.6, 0.3, y - 0.9 * (x - 6)) * smoothstep(-12, -9, y)
    moustache = smoothstep(3.4, 2.2, x) * smoothstep(-0.8, -1.5, y) * smoothstep(-3.7, -3.1, y)
    corners = smoothstep(1.9, 3.4, x) * smoothstep(4.7, 3.3, x) * smoothstep(-1.5, -2.4, y) * smoothstep(-7, -5, y)
    area = np.maximum.reduce([jaw, cheek * 0.8, moustache, corners * 0.8])
    return np.clip(area, 0, 1) * smoothstep(-1.5, 0.5, z)
