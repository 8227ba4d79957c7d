"""Lay the common grid over a source: 25 moments a second from its first frame, and 16 kHz sound, by exact time."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

from latentsync.data.clip import GRID_FPS, Clip, Rejected
from latentsync.data.grid import STEP_S, grid_length
from latentsync.data.stages.base import PlainStage


class Normalise(PlainStage):
    """Chooses the spans that have whole pictures and sound; damaged ones are rejected by themselves.

    Nothing is re-encoded: frames and samples are read from the source, by exact time, when they are needed.
    """

    name = "normalise"
    version = 1

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        rate = float(clip.facts["mean_fps"] or 0)
        if rate < self.config.min_fps:
            return self.no("too_slow", rate, self.config.min_fps, "frames a second")
        first = Fraction(str(clip.facts["first_s"]))
        end = min(Fraction(str(clip.facts["end_s"])), Fraction(str(clip.facts["sound_end_s"])))
        late = Fraction(str(clip.facts["sound_start_s"])) - first
        start = max(0, -int(-late // STEP_S))  # whole steps before the sound begins
        count = start + grid_length(first + start * STEP_S, end)
        if count <= start:
            return self.no("no_common_span", float(end - first), 1 / GRID_FPS, "picture and sound do not overlap")
        whole = replace(clip, start_s=first, num_frames=count)
        clips = []
        for bad_start, bad_end in json.loads(str(clip.facts["damaged_spans"])):
            at = min(max(start, int((Fraction(bad_start) - first) // STEP_S)), count)
            until = min(count, -int(-(Fraction(bad_end) - first) // STEP_S))
            if until <= start or at >= count:
                continue
            if at > start:
                clips.append(whole.cut(start, at - start))
            damaged = whole.cut(at, until - at)
            clips.append(damaged.reject(self.name, "damaged_span", damaged.duration_s, 0.0, "seconds left out"))
            start = until
        if start < count:
            clips.append(whole.cut(start, count - start))
        return clips
