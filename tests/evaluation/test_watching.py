"""What is watched of a video: lip curves on the common grid."""

from pathlib import Path

import numpy as np
import pytest
from talkers import EYES_PX, REST_PX, MouthTracker, babble, write_talker

from latentsync.evaluation.watching import Watched, measure, watch
from latentsync.faces import topology as mesh


def test_lip_curves_are_those_of_the_drawn_mouth_with_and_without_crops(tmp_path: Path) -> None:
    opening, spread = babble(2, 40), babble(3, 40)
    path = write_talker(tmp_path / "talk.mp4", opening, 0, spread=spread)
    curves, watched = measure(path, MouthTracker()), watch(path, MouthTracker(), 64)
    np.testing.assert_array_equal(curves.opening, watched.opening)
    np.testing.assert_array_equal(curves.width, watched.width)
    np.testing.assert_allclose(curves.width, REST_PX / EYES_PX + spread, atol=3 / EYES_PX)  # H.264 blurs the ends
    assert np.corrcoef(curves.width, spread)[0, 1] > 0.98
    assert np.corrcoef(curves.opening, opening)[0, 1] > 0.95


def test_width_lies_on_the_grid_whatever_the_videos_rate() -> None:
    """50 frames a second, growing wider by 0.01 a frame; one frame without a face."""
    landmarks = np.zeros((21, 468, 2), np.float32)
    landmarks[:, mesh.RIGHT_EYE_OUTER, 0] = 100
    landmarks[:, mesh.INNER_LIP_CORNERS[1], 0] = 40 + np.arange(21)
    landmarks[8] = np.nan
    crops = np.zeros((21, 8, 8, 3), np.uint8)
    watched = Watched(np.arange(21) / 50, landmarks, np.zeros((21, 2, 3), np.float32), crops, (8, 8))
    assert watched.width.tolist() == pytest.approx(
        [np.nan if i == 4 else 0.4 + 0.02 * i for i in range(11)], nan_ok=True
    )
