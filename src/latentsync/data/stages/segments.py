"""Divide shots into clips of a useful length."""

from __future__ import annotations

import math
from itertools import pairwise

from latentsync.data.clip import GRID_FPS, Clip, Rejected
from latentsync.data.stages.base import PlainStage


class Segments(PlainStage):
    """As few equal parts as keep below the greatest length; a shot that is too short is rejected with its length."""

    name = "segments"
    version = 1

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        least, most = (math.floor(s * GRID_FPS + 1e-9) for s in (self.config.min_s, self.config.max_s))
        if clip.num_frames < least:
            return self.no("too_short", clip.duration_s, self.config.min_s, "shot, seconds")
        num_parts = -(-clip.num_frames // most)
        borders = [round(part * clip.num_frames / num_parts) for part in range(num_parts + 1)]
        return [clip.cut(a, b - a) for a, b in pairwise(borders)]
