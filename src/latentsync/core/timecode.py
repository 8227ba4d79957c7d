"""SMPTE timecode: read, counted on, written. Drop-frame skips numbers, not frames (SMPTE ST 12-1, 5.2.2)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction

_PATTERN = re.compile(r"(\d{2}):([0-5]\d):([0-5]\d)([:;.,])(\d{2,3})", re.ASCII)


def timecode_from(text: str | None, fps: Fraction, skipped_s: Fraction) -> Timecode | None:
    """The label of the first frame that is not skipped, from that of a video's first frame; None = none, not readable.

    Args: skipped_s: frames that begin earlier than this, counted from the first one's time, are left out.
    """
    first = None if text is None else Timecode.parse(text, fps)
    return None if first is None else first.moved(math.ceil(max(Fraction(0), skipped_s) * fps))


@dataclass(frozen=True, slots=True)
class Timecode:
    """The label of one frame.

    Attributes:
        frames: since midnight, counted in frames.
        per_second: frames in a second of labels: 30 for 29.97 fps.
        drops: at the beginning of nine minutes out of ten numbers are skipped, so that labels keep to the clock at
            29.97 and 59.94 fps.
    """

    frames: int
    per_second: int
    drops: bool = False

    @classmethod
    def parse(cls, text: str, fps: Fraction) -> Timecode | None:
        """From "01:00:00:00" or, drop-frame, "01:00:00;00"; None = no timecode at this rate."""
        found = _PATTERN.fullmatch(text.strip())
        per_second = round(fps)
        if found is None or per_second < 1 or int(found[5]) >= per_second:
            return None
        hours, minutes, seconds, frame = (int(found[n]) for n in (1, 2, 3, 5))
        drops = found[4] in ";." and per_second % 30 == 0
        total_minutes = hours * 60 + minutes
        frames = (total_minutes * 60 + seconds) * per_second + frame
        if drops:
            frames -= per_second // 15 * (total_minutes - total_minutes // 10)
        return cls(frames, per_second, drops)

    def moved(self, num_frames: int) -> Timecode:
        """The label of the frame that comes so much later, round midnight."""
        skipped = self.per_second // 15 * (1440 - 144) if self.drops else 0
        return replace(self, frames=(self.frames + num_frames) % (86_400 * self.per_second - skipped))

    def __str__(self) -> str:
        number = self.frames
        if self.drops:
            skipped = self.per_second // 15
            tens, rest = divmod(number, 600 * self.per_second - 9 * skipped)
            number += 9 * skipped * tens
            minute = 60 * self.per_second - skipped
            number += skipped * max(0, (rest - skipped) // minute)
        seconds, frame = divmod(number, self.per_second)
        mark = ";" if self.drops else ":"
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frame:02d}"
