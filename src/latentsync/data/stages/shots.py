"""Cut a source where the camera does."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import Frame
from latentsync.data.clip import GRID_FPS, Clip, Rejected
from latentsync.data.grid import grid_frames
from latentsync.data.stages.base import PlainStage
from latentsync.faces.shots import ShotDetector

LOOK_PX = 256
"""Long side of the pictures that the detectors see."""


class Shots(PlainStage):
    """One clip a shot, by PySceneDetect's adaptive detector or by the detector that inference uses."""

    name = "shots"
    version = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "library": scenedetect_version() if self.config.finder == "scenedetect" else ""}

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        frames = (frame for frame, _ in grid_frames(Path(clip.source.path), clip.start_s, clip.num_frames))
        if self.config.finder == "scenedetect":
            cuts = list(_scenedetect_cuts(frames, self.config.threshold))
        else:
            cuts = [frame.index for frame, begins in ShotDetector().mark(frames) if begins and frame.index]
        clip = clip.known(shot_finder=self.config.finder)
        borders = [0, *sorted(set(cuts)), clip.num_frames]
        return [clip.cut(first, end - first) for first, end in pairwise(borders)]


def scenedetect_version() -> str:
    """Version of PySceneDetect. Raises: ConfigError: it is not installed."""
    for name in ("scenedetect-headless", "scenedetect"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise ConfigError("shots.finder", "scenedetect", 'run: pip install "latentsync[data]", or choose builtin')


def _scenedetect_cuts(frames: Iterator[Frame], threshold: float) -> Iterator[int]:
    """Grid indices at which a shot begins, but the first."""
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
    except ImportError as error:
        fix = 'run: pip install "latentsync[data]", or choose builtin'
        raise ConfigError("shots.finder", "scenedetect", fix) from error
    detector = AdaptiveDetector(adaptive_threshold=threshold)
    last = FrameTimecode(0, fps=Fraction(GRID_FPS))
    for frame in frames:
        last = FrameTimecode(frame.index, fps=Fraction(GRID_FPS))
        bgr = np.ascontiguousarray(frame.picture.thumbnail(LOOK_PX)[..., ::-1])
        yield from (int(cut.frame_num) for cut in detector.process_frame(last, bgr))
    yield from (int(cut.frame_num) for cut in detector.post_process(last))
