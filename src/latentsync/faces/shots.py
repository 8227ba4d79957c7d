"""Where one shot ends and the next begins, found while the film streams by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import Bytes, Frame

_THUMBNAIL_PX = 64
_GRID = (8, 8)
_BINS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ShotConfig:
    """When a change counts as a cut.

    Attributes:
        threshold: least difference between any frame before and any frame after the cut (scale of `difference`).
        ratio: how many times larger the step at the cut is than the largest step near it; fast motion is large too, but
            on several frames in a row.
        reach_frames: frames looked at on each side; a flash shorter than this is no cut.
    """

    threshold: float = 0.10
    ratio: float = 2.0
    reach_frames: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError("shots.threshold", self.threshold, "choose between 0 and 1")
        if self.ratio < 1:
            raise ConfigError("shots.ratio", self.ratio, "choose 1 or more")
        if self.reach_frames < 1:
            raise ConfigError("shots.reach_frames", self.reach_frames, "choose 1 or more")


@dataclass(frozen=True, slots=True)
class ShotDescriptor:
    """What a frame looks like from far away: (8, 8, 3) mean colours and a colour histogram that sums to 1."""

    blocks: np.ndarray
    histogram: np.ndarray


def look(thumbnail: Bytes) -> ShotDescriptor:
    """Summary of an RGB thumbnail, in luma and two colour differences."""
    small = cv2.resize(np.ascontiguousarray(thumbnail), (48, 48), interpolation=cv2.INTER_AREA)
    ycc = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32) / 255
    blocks = cv2.resize(ycc, _GRID, interpolation=cv2.INTER_AREA)
    # chroma is spread over a third of its range in ordinary pictures: stretch it, then bin softly
    spread = np.concatenate([ycc[..., :1], np.clip((ycc[..., 1:] - 0.5) * 2 + 0.5, 0, 1)], axis=2).reshape(-1, 3)
    histogram = np.concatenate([_soft_histogram(spread[:, channel]) for channel in range(3)]) / 3
    return ShotDescriptor(blocks, histogram)


def _soft_histogram(values: np.ndarray) -> np.ndarray:
    """Histogram in which each value is shared between its two nearest bins, so that small shifts change little."""
    position = values * (_BINS - 1)
    low = np.minimum(position.astype(int), _BINS - 2)
    share = position - low
    out = np.bincount(low, 1 - share, _BINS) + np.bincount(low + 1, share, _BINS)
    return out / len(values)


def difference(a: ShotDescriptor, b: ShotDescriptor) -> float:
    """0 = the same, about 0.02 within a calm shot, 0.2 and more between different pictures."""
    place = float(np.abs(a.blocks - b.blocks).mean(axis=(0, 1)) @ (0.5, 1.5, 1.5)) * 2
    colour = float(np.abs(a.histogram - b.histogram).sum()) / 2
    return 0.5 * place + 0.5 * colour


class ShotDetector:
    """Finds hard cuts. Dissolves are not found: a track that survives one is judged by its face alone."""

    def __init__(self, config: ShotConfig | None = None) -> None:
        self._config = config or ShotConfig()

    @property
    def lookahead(self) -> int:
        """Frames held back at most."""
        return self._config.reach_frames

    def mark(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
        """Yield every frame in order with True where it begins a shot; the first frame always does."""
        reach = self._config.reach_frames
        before: deque[ShotDescriptor] = deque(maxlen=reach + 1)
        waiting: deque[tuple[Frame, ShotDescriptor]] = deque()
        for frame in frames:
            waiting.append((frame, look(frame.picture.thumbnail(_THUMBNAIL_PX))))
            if len(waiting) > reach:
                yield self._decide(before, waiting)
        while waiting:
            yield self._decide(before, waiting)

    def _decide(
        self, before: deque[ShotDescriptor], waiting: deque[tuple[Frame, ShotDescriptor]]
    ) -> tuple[Frame, bool]:
        after = [summary for _, summary in waiting]
        cut = not before or self._is_cut(list(before), after)
        frame, summary = waiting.popleft()
        if cut:
            before.clear()
        before.append(summary)
        return frame, cut

    def _is_cut(self, before: list[ShotDescriptor], after: list[ShotDescriptor]) -> bool:
        config = self._config
        step = difference(before[-1], after[0])
        if step < config.threshold:
            return False
        near = before[-config.reach_frames :]
        if min(difference(a, b) for a in near for b in after) < config.threshold:
            return False  # the old picture comes back: a flash, or the end of one
        sides = (before, after)
        steps = [difference(a, b) for side in sides for a, b in pairwise(side)]
        return step > config.ratio * max(steps, default=0.0)
