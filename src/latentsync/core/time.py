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


def as_written(seconds: Real) -> Fraction:
    """A finite number as the decimal it is written as: 0.4 is 2/5, not the binary number a little above, by which the
    frame at 2/5 s would be missed. Exact numbers stay as they are."""
    return Fraction(seconds) if isinstance(seconds, Rational) else Fraction(str(seconds))
