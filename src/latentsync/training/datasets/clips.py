"""What every source of training clips gives: clips with the attributes of `datasets.clip_files.Clip`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

FPS = 25
SAMPLES_PER_FRAME = 640
"""16 kHz by 25 fps."""


class AnyClip(Protocol):
    """A clip of any source; see `datasets.clip_files.Clip` for shapes."""

    @property
    def path(self) -> Path: ...
    @property
    def person(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def in_sync(self) -> bool: ...
    @property
    def crops(self) -> np.ndarray: ...
    @property
    def mesh(self) -> np.ndarray: ...
    @property
    def wave(self) -> np.ndarray: ...


@dataclass(frozen=True)
class LazyClip:
    """A clip whose arrays are made when first asked for.

    Attributes:
        path: of its shard, or of its place in the cache; for messages.
        content: hash of what its arrays are made from.
        num_frames: known without making them.
        make: name of an array ("crops", "mesh", "wave") → the array.
        mouth_covered: gives (F,) share of the mouth that is hidden in each frame; None = nothing is known of that.
    """

    path: Path
    person: str
    split: str
    in_sync: bool
    content: str
    num_frames: int
    make: Callable[[str], np.ndarray] = field(compare=False, repr=False)
    mouth_covered: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def crops(self) -> np.ndarray:
        """(F, R, R, 3) uint8."""
        return self.make("crops")

    @cached_property
    def mesh(self) -> np.ndarray:
        """(F, 468, 2) float32, crop pixels."""
        return self.make("mesh")

    @cached_property
    def wave(self) -> np.ndarray:
        """(S,) float32, 16 kHz, starting with the first frame."""
        return self.make("wave")


def num_frames(clip: AnyClip) -> int:
    """Frames that have both picture and sound."""
    known = getattr(clip, "num_frames", None)
    return int(known) if known else min(len(clip.crops), len(clip.wave) // SAMPLES_PER_FRAME)
