"""What a judge of sync says of a clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much later the sound is than the picture (seconds), and how sure that is (scale of the judge); NaN = not."""

    late_s: float
    confidence: float
    at_zero: float
