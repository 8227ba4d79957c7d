"""Exact time: seconds are Fractions, and this is the one place where a time becomes an index."""

from __future__ import annotations

from fractions import Fraction
from numbers import Rational, Real


def frame_time(index: int, fps: Fraction) -> Fraction:
    """Time of frame `index` at a constant rate: index / fps, exact seconds."""
    return Fraction(index) / fps


def index_at(time_s: Fraction, rate: Fraction | int) -> int:
    """Index of the step that is on at `time_s`: floor(time · rate)."""
    return int(Fraction(time_s) * rate // 1)


def nearest_rate(fps: float) -> Fraction:
    """A measured rate as the fraction it stands for (29.97 → 30000/1001), else with a denominator of at most 1001."""
    for base in (24, 30, 48, 60, 120):
        ntsc = Fraction(base * 1000, 1001)
        if abs(float(ntsc) - fps) < 5e-3:
            return ntsc
    return Fraction(fps).limit_denominator(1001)


def as_written(seconds: Real) -> Fraction:
    """A finite number as the decimal it is written as: 0.4 is 2/5, not the binary number a little above, by which the
    frame at 2/5 s would be missed. Exact numbers stay as they are."""
    return Fraction(seconds) if isinstance(seconds, Rational) else Fraction(str(seconds))
