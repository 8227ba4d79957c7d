"""A judge of sync that needs no file of the user's: the lips that the sound speaks of against those of the mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.data.clip import GRID_FPS, Clip
from latentsync.data.sound import sound_span
from latentsync.data.stages.estimate import Estimate
from latentsync.data.stages.faces import load_geometry
from latentsync.data.workspace import Workspace
from latentsync.faces.alignment import transform
from latentsync.metrics.lips import audible_opening, lagged_correlation

LEAD_FRAMES = 30
LEAD_S = Fraction(LEAD_FRAMES, GRID_FPS)
"""Sound heard before and after the clip: the longest search, and what the audio encoder needs around a frame."""
SAMPLES_PER_FRAME = SPEECH_RATE_HZ // GRID_FPS
MIN_FRAMES = 25


class LipOpeningJudge:
    """Opening of the lips by the shipped audio encoder and by the mesh, correlated at every lag.

    Chance correlations shrink with the root of the length, so the confidence is given as for a clip of 3 s:
    correlation · √(seconds / 3), for at most 12 s.
    """

    name = "lip_opening"
    min_confidence = 0.3
    correct_above = 0.6
    margin = 0.1

    def __init__(self, max_offset_frames: int) -> None:
        from latentsync.models.lip_opening import load_lip_opening_reader

        self._reader, self._max = load_lip_opening_reader(), max_offset_frames

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        opening = audible_opening(crop_mesh(load_geometry(workspace.path(clip.files["geometry"]))))
        count = (len(opening) + 2 * LEAD_FRAMES) * SAMPLES_PER_FRAME
        return self.compare(opening, *self.features_of_clip(*sound_span(clip, clip.start_s - LEAD_S, count)))

    def features_of_clip(self, wave: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sound from `LEAD_FRAMES` before the first frame to as long after the last → (F + 2·lead,) opening of the lips
        that it speaks of, from frame −lead on, and bool: the source has the sound of that frame."""
        count = len(wave) // SAMPLES_PER_FRAME
        there = np.asarray(known[: count * SAMPLES_PER_FRAME].reshape(count, -1).all(axis=1))
        return self._reader.read(wave, count), there

    def compare(self, opening: np.ndarray, read: np.ndarray, there: np.ndarray) -> Estimate:
        """The lag at which both follow each other best, to a part of a frame, over the frames whose sound is known; NaN
        where that is too little."""
        found = lagged_correlation(
            np.where(there, read, np.nan), opening, self._max, lead=LEAD_FRAMES, least=MIN_FRAMES
        )
        curve = np.array(found.curve)
        if not np.isfinite(curve[self._max]) or np.isfinite(curve).mean() < 0.5:
            return Estimate(0.0, float("nan"), float("nan"))
        median = float(np.nanmedian(curve))
        weight = math.sqrt(min(len(opening) / GRID_FPS, 12.0) / 3.0)
        confidence, at_zero = (weight * (float(value) - median) for value in (found.best_r, curve[self._max]))
        return Estimate((found.best_lag + _between(curve, found.best_lag + self._max)) / GRID_FPS, confidence, at_zero)


def _between(curve: np.ndarray, best: int) -> float:
    """Where between the lags the curve is highest: the top of the parabola through the best and its neighbours, −½ … ½;
    0 at an end of the search."""
    if not 0 < best < len(curve) - 1:
        return 0.0
    before, top, after = curve[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if np.isfinite(bend) and bend < 0 else 0.0


def crop_mesh(geometry: Mapping[str, np.ndarray]) -> np.ndarray:
    """(F, 468, 2) landmarks in pixels of the crop."""
    pairs = zip(geometry["frame_to_crop"], geometry["landmarks"], strict=True)
    return np.stack([transform(matrix, landmarks) for matrix, landmarks in pairs])
