"""Is a step sound? Asked before the optimiser moves, answered alike by all processes."""

from __future__ import annotations

import math
from collections.abc import Mapping

SOUND = ""


def what_is_wrong(figures: Mapping[str, float]) -> str:
    """The first figures that are not finite, as a reason; empty where all are."""
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if not wrong:
        return SOUND
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{', '.join(wrong[:3])}{more} not finite"


def only_gradients(figures: Mapping[str, float]) -> bool:
    """All that is not finite are gradients: with fp16 an overflow, answered by a smaller loss scale."""
    return all(math.isfinite(v) or name.endswith("grad_norm") for name, v in figures.items())
