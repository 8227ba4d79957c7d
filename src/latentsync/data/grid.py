"""The 25-frames-a-second grid laid over a source: which of its frames is on at each moment. No re-encoding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from latentsync.core.values import Frame
from latentsync.data.clip import GRID_FPS
from latentsync.media.information import VideoInfo
from latentsync.media.reader import VideoReader

STEP_S = Fraction(1, GRID_FPS)
ROUNDING_S = Fraction(1, 200)
"""A frame that begins this much after a moment of the grid counts as on: clocks of whole milliseconds round times.
An eighth of a step, chosen so that a 25-fps source in any container maps one to one."""


def grid_length(first_s: Fraction, end_s: Fraction) -> int:
    """Moments first_s + i / 25 whose whole step lies before `end_s`, give or take the rounding of times."""
    return max(0, int((end_s - first_s + ROUNDING_S) / STEP_S))


def grid_frames(
    path: Path, start_s: Fraction, num_frames: int, info: VideoInfo | None = None
) -> Iterator[tuple[Frame, Fraction]]:
    """The frame that is on at each moment of a span, with its own time in the source.

    The frame on at t is the last one that begins at or before t (a faster source loses frames, a slower one repeats
    them), so no picture is shown before its time, and the error is below one source frame.

    Yields: (Frame with index i and time i / 25, its time in the source).
    """
    frame_s = 1 / (info.fps if info is not None else Fraction(GRID_FPS))
    with VideoReader(path, max(Fraction(0), start_s - 2 * max(frame_s, STEP_S)), None, info) as reader:
        now: Frame | None = None
        index = 0
        for coming in reader:
            while index < num_frames and coming.time_s > start_s + index * STEP_S + ROUNDING_S:
                shown = now if now is not None else coming  # nothing is on yet: the first one that comes
                yield Frame(index, index * STEP_S, shown.picture), shown.time_s
                index += 1
            if index >= num_frames:
                return
            now = coming
        while now is not None and index < num_frames:  # the last frame stays
            yield Frame(index, index * STEP_S, now.picture), now.time_s
            index += 1
