"""Times as people write them, exact and within bounds."""

from __future__ import annotations

import re
from fractions import Fraction

from latentsync.core.errors import ConfigError

LONGEST_S = 10**7
"""Four months: no video is longer, and no number of frames or ticks made of it overflows."""
_NUMBER = re.compile(r"[+-]?(\d{1,12}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,2})?|[+-]?\d{1,12}/\d{1,12}", re.ASCII)


def exact(text: str) -> Fraction:
    """A number as it is written: `12.5`, `1e-3`, `1001/30000`. A long exponent is refused, not worked out.

    Raises: ValueError: it is no number, or longer than anybody writes one.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"not a number: {text[:40]!r}")
    try:
        return Fraction(text.strip())
    except ZeroDivisionError as error:
        raise ValueError(f"not a number: {text[:40]!r}") from error


def parse_time(key: str, text: str) -> Fraction:
    """Exact seconds from `12.5`, `1:02.5` or `1:00:02.5`.

    Raises: ConfigError: anything else, a negative time, or one beyond `LONGEST_S`.
    """
    try:
        parts = [exact(part) for part in text.split(":", 4)]
    except ValueError:
        parts = []
    if parts and parts[0] < 0:
        raise ConfigError(key, text, "choose 0 or later: times count from the start of the video")
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts) or any(part >= 60 for part in parts[1:]):
        raise ConfigError(key, text, "write seconds (12.5), minutes:seconds (1:02.5) or hours:minutes:seconds")
    seconds = Fraction(0)
    for part in parts:
        seconds = seconds * 60 + part
    if seconds > LONGEST_S:
        raise ConfigError(key, text, f"choose a time below {LONGEST_S} s")
    return seconds
