"""Quality falls with each kind of damage."""

import cv2
import numpy as np
import pytest
from metric_pictures import clip

from latentsync.metrics.quality import quality


def picture() -> np.ndarray:
    return cv2.resize(clip(1, detail=8)[0], (192, 192), interpolation=cv2.INTER_CUBIC)


def jpeg(rgb: np.ndarray, level: int) -> np.ndarray:
    ok, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, level])
    assert ok
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


DAMAGE = {
    "blur": lambda x, level: cv2.GaussianBlur(x, (0, 0), (0.01, 2, 5)[level]),
    "noise": lambda x, level: np.clip(
        x + np.random.default_rng(0).normal(0, (0, 8, 25)[level], x.shape), 0, 255
    ).astype(np.uint8),
    "jpeg": lambda x, level: jpeg(x, (95, 12, 4)[level]),
    "dark": lambda x, level: (x.astype(np.float32) * (1, 0.2, 0.02)[level]).astype(np.uint8),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_more_damage_never_scores_higher(kind: str) -> None:
    clean, some, much = (quality(DAMAGE[kind](picture(), level)).score for level in range(3))
    assert clean > some >= much
    assert much < 0.7 * clean


def test_parts_name_the_damage() -> None:
    clean = quality(picture())
    assert quality(cv2.GaussianBlur(picture(), (0, 0), 3)).sharpness < clean.sharpness
    assert quality(DAMAGE["noise"](picture(), 2)).noise == pytest.approx(25 * 0.67, rel=0.35)  # luma averages channels
    assert quality(jpeg(picture(), 5)).blockiness > clean.blockiness + 0.3
    assert quality(np.full((64, 64, 3), 255, np.uint8)).clipped == 1
    with pytest.raises(ValueError, match="expected"):
        quality(np.zeros((16, 16, 3), np.uint8))
