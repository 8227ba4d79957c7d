"""Alignment against the golden matrices of the released tool and the folded square transform.

Source: docs/method.md#golden-values.
"""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.faces import alignment_matrix
from latentsync.faces.alignment import ShapeOffset, aligned_size, square_matrix, transform

POINTS = np.array([(300, 210), (402, 204), (356, 262)])
GOLDEN_256 = np.array([[1.0914872, -0.0732983, -263.50211], [0.0732983, 1.0914871, -197.19830]])
TOLERANCE = dict(rtol=2e-6, atol=2e-6)


def test_golden_first_call_256() -> None:
    state = ShapeOffset()
    matrix = alignment_matrix(POINTS, 256, compatible=True, state=state)
    assert matrix.dtype == np.float32 and matrix.shape == (2, 3)
    np.testing.assert_allclose(matrix, GOLDEN_256, **TOLERANCE)
    np.testing.assert_allclose(state.value, (-0.0875178, -0.0666735), atol=1e-6)


def test_golden_512() -> None:
    matrix = alignment_matrix(POINTS, 512, compatible=True)
    np.testing.assert_allclose(matrix[:, :2], 2 * GOLDEN_256[:, :2], **TOLERANCE)
    np.testing.assert_allclose(matrix[:, 2], (-526.91669, -394.32993), **TOLERANCE)


def test_golden_second_call() -> None:
    state = ShapeOffset()
    alignment_matrix(POINTS, 256, compatible=True, state=state)
    matrix = alignment_matrix(POINTS + np.array((3, -2)), 256, compatible=True, state=state)
    np.testing.assert_allclose(matrix[:, 2], (-266.92316, -195.23520), **TOLERANCE)
    np.testing.assert_allclose(state.value, (-0.0875178, -0.0666735), atol=1e-6)


def test_offset_remembers_the_last_shape() -> None:
    state = ShapeOffset()
    alignment_matrix(POINTS, 256, compatible=True, state=state)
    other = POINTS + np.array([(0, 0), (0, 0), (10, 0)])
    fresh = ShapeOffset()
    alignment_matrix(other, 256, compatible=True, state=fresh)
    first = np.array(state.value)
    alignment_matrix(other, 256, compatible=True, state=state)
    np.testing.assert_allclose(state.value, 0.2 * first + 0.8 * np.array(fresh.value), atol=1e-12)


def test_square_crop_is_the_reference_crop_resized() -> None:
    """The folded matrix equals: reference matrix without offset, then a resize with half-pixel centres."""
    without_offset = GOLDEN_256.copy()
    without_offset[:, 2] = (-263.41458, -197.13162)
    frame = np.array([(300.0, 210.0), (10.0, 700.0), (355.5, 261.25)])
    small = transform(without_offset, frame)
    expected = (small + 0.5) * (256 / 210, 256 / 280) - 0.5
    np.testing.assert_allclose(transform(alignment_matrix(POINTS, 256), frame), expected, atol=2e-3)


def test_template_points_land_where_the_masks_expect_them() -> None:
    for turn_deg, scale in ((0, 1.0), (25, 3.0), (-100, 0.2)):
        t = np.radians(turn_deg)
        turn = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
        template = np.array([(17, 20), (58, 20), (37.5, 40)]) @ turn.T + (600, 400)
        crop = transform(alignment_matrix(template, 256), template)
        np.testing.assert_allclose(crop, [(58.14, 51.16), (198.10, 51.16), (128.11, 102.36)], atol=0.02)


def test_mirrored_points_give_no_reflection() -> None:
    assert np.linalg.det(alignment_matrix(POINTS[[1, 0, 2]], 256)[:, :2]) > 0


def test_sizes_of_the_intermediate_crop() -> None:
    assert aligned_size(256) == (210, 280) and aligned_size(512) == (420, 560)
    corners = transform(square_matrix(256), [(-0.5, -0.5), (209.5, 279.5)])
    np.testing.assert_allclose(corners, [(-0.5, -0.5), (255.5, 255.5)], atol=1e-12)


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.full((3, 2), np.nan), np.zeros((2, 2))])
def test_impossible_points_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="points"):
        alignment_matrix(points, 256)
