"""Counts the pictures that are alive, to show that memory does not grow with length."""

from __future__ import annotations

import gc

from latentsync.media.pixels import PlanarPicture


class LivePictures:
    """How many more pictures are alive than when this was made; `most` is the peak over all looks."""

    def __init__(self) -> None:
        gc.collect()
        self._before = self._count()
        self.most = 0

    def look(self) -> None:
        self.most = max(self.most, self._count() - self._before)

    @staticmethod
    def _count() -> int:
        return sum(isinstance(thing, PlanarPicture) for thing in gc.get_objects())
