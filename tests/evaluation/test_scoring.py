"""Scores that need no picture: what is known of the speaker decides which there are."""

import numpy as np
import pytest
from talkers import babble

from latentsync.evaluation.scoring import Judges, sync_scores
from latentsync.evaluation.speech import Speech
from latentsync.evaluation.watching import Watched
from latentsync.faces import topology as mesh


def watched(opening: np.ndarray, width: np.ndarray) -> Watched:
    """A mouth of these curves, in eye distances, at 25 frames a second."""
    landmarks = np.zeros((len(opening), 468, 2), np.float32)
    landmarks[:, mesh.RIGHT_EYE_OUTER, 0] = 100
    landmarks[:, [lower for _, lower in mesh.INNER_LIP_PAIRS], 1] = 100 * opening[:, None]
    landmarks[:, mesh.INNER_LIP_CORNERS[1], 0] = 100 * width
    crops = np.zeros((len(opening), 8, 8, 3), np.uint8)
    return Watched(np.arange(len(opening)) / 25, landmarks, np.zeros((len(opening), 2, 3), np.float32), crops, (8, 8))


def test_opening_and_width_are_scored_each_by_itself() -> None:
    opening, width, wave = babble(0), 0.4 + babble(1), np.zeros(60 * 640, np.float32)
    late = np.r_[np.full(2, 0.4), width[:-2]]
    result = watched(opening, late)
    both = sync_scores(result, Speech(wave, opening, width=width), None, Judges())
    assert both["cross_r"] == pytest.approx(1) and both["width_r"] == pytest.approx(1)
    assert both["lag_frames"] == 0  # the opening's, not the width's
    later = np.r_[np.full(5, 0.4), width[:-5]]
    assert sync_scores(watched(opening, later), Speech(wave, opening, width=width), None, Judges())["width_r"] < 0.6
    plain = sync_scores(result, Speech(wave, opening), None, Judges())
    assert "cross_r" in plain and "width_r" not in plain
    assert set(sync_scores(result, Speech(wave, None, width=width), None, Judges())) == {"width_r"}
    unseen = Speech(wave, None, width=np.full(60, np.nan))
    assert sync_scores(result, unseen, None, Judges()) == {}
