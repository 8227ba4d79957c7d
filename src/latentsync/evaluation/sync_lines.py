"""Is the mouth in time with the sound? Every person and shot of a video, its whole length, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentsync.core.values import Face
from latentsync.evaluation.watching import GRID_HZ, on_grid
from latentsync.faces.alignment import alignment_matrix, transform
from latentsync.faces.points import alignment_points
from latentsync.faces.protocol import FaceTracker
from latentsync.faces.shots import ShotDetector
from latentsync.media.reader import VideoReader
from latentsync.metrics.lips import lip_opening, opening_about_mean

LEAST_S = 1.5
"""Shorter appearances are not judged: there is too little of a mouth to follow."""
IN_TIME_MS = 45.0
"""Up to here nobody notices: about a frame (ITU-R BT.1359-1 has sound early by 45 ms as detectable)."""
SURE, UNSURE = 0.6, 0.3
"""Confidence from which an offset is believed, and below which a mouth does not follow the sound (docs/data.md)."""


@dataclass(frozen=True, slots=True)
class SyncLine:
    """One person in one shot.

    Attributes:
        person: counted from 1, by first appearance in the shot. shot: counted from 1.
        start_s, end_s: from the video's first frame.
        late_ms: how much later the picture is than the sound; NaN where that cannot be said.
        confidence: of that lag. at_zero: as it stands.
    """

    person: int
    shot: int
    start_s: float
    end_s: float
    late_ms: float
    confidence: float
    at_zero: float

    @property
    def words(self) -> str:
        """What this means, for somebody who has to decide."""
        if not np.isfinite(self.late_ms):
            return "too little speech or face to judge"
        if self.confidence < UNSURE:
            return "the mouth does not follow the sound"
        if abs(self.late_ms) <= IN_TIME_MS:
            return "in time" if self.confidence >= SURE else "in time, as far as can be told"
        which = "late" if self.late_ms > 0 else "early"
        sure = "" if self.confidence >= SURE else ", perhaps"
        return f"picture {which} by {abs(self.late_ms):.0f} ms{sure}"


@dataclass
class _Appearance:
    shot: int
    times_s: list[float] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)


def sync_lines(path: Path, wave: np.ndarray, tracker: FaceTracker, max_offset_frames: int = 15) -> list[SyncLine]:
    """Judge every person in every shot, by the judge of the package.

    One number a frame is kept of each face, so length does not matter. A cut begins new people.

    Args: path: the video. wave: (S,) its sound, 16 kHz mono, from the video's first frame on.
    Raises: MediaError: the video cannot be read.
    """
    from latentsync.data.stages.lip_opening import LEAD_FRAMES, SAMPLES_PER_FRAME, LipOpeningJudge

    judge = LipOpeningJudge(max_offset_frames)
    lines = []
    people: dict[int, int] = {}
    for seen in _appearances(path, tracker):
        people[seen.shot] = people.get(seen.shot, 0) + 1
        times_s = np.asarray(seen.times_s)
        start_s, end_s = float(times_s[0]), float(times_s[-1]) + 1 / GRID_HZ
        opening = opening_about_mean(on_grid(times_s - start_s, np.asarray(seen.openings)))
        first = round(start_s * GRID_HZ - LEAD_FRAMES) * SAMPLES_PER_FRAME
        count = (len(opening) + 2 * LEAD_FRAMES) * SAMPLES_PER_FRAME
        at = np.arange(first, first + count)
        known = (at >= 0) & (at < len(wave))
        sound = np.where(known, wave[at.clip(0, max(len(wave) - 1, 0))] if len(wave) else 0, 0).astype(np.float32)
        found = judge.compare(opening, *judge.features_of_clip(sound, known))
        # the grid begins at start_s, the sound at a whole grid step beside it
        rest_s = start_s - round(start_s * GRID_HZ) / GRID_HZ
        late_ms = -1000 * (found.late_s - rest_s) if np.isfinite(found.confidence) else float("nan")
        lines.append(SyncLine(people[seen.shot], seen.shot, start_s, end_s, late_ms, found.confidence, found.at_zero))
    return lines


def _appearances(path: Path, tracker: FaceTracker) -> Iterator[_Appearance]:
    """Every face of every shot that is seen long enough, in the order in which shots end."""
    shot, origin_s = 0, None
    now: dict[int, _Appearance] = {}
    with VideoReader(path) as reader, tracker.open() as session:
        for frame, is_first in ShotDetector().mark(reader):
            if is_first:
                yield from _long(now)
                shot, now = shot + 1, {}
                session.cut()
            time_s = float(frame.time_s)
            origin_s = time_s if origin_s is None else origin_s
            for face in session.track(frame):
                one = now.setdefault(face.track_id, _Appearance(shot))
                one.times_s.append(time_s - origin_s)
                one.openings.append(_opening(face))
    yield from _long(now)


def _long(now: dict[int, _Appearance]) -> list[_Appearance]:
    return [one for one in now.values() if len(one.times_s) > 1 and one.times_s[-1] - one.times_s[0] >= LEAST_S]


def _opening(face: Face) -> float:
    """Lip opening in the aligned crop, whose sides are stretched, as networks are taught it."""
    matrix = alignment_matrix(alignment_points(face.landmarks), 256)
    return float(lip_opening(transform(matrix, face.landmarks[:468])[None])[0])
