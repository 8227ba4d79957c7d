"""The three points that the released models align faces by, taken from the mesh."""

from __future__ import annotations

import numpy as np

from latentsync.core.values import Float

BROW_VERTICES = (
    (46, 276),
    (53, 283),
    (52, 282),
    (65, 295),
    (55, 285),
    (70, 300),
    (63, 293),
    (105, 334),
    (66, 296),
    (107, 336),
)
"""Mesh vertices of the lower and the upper edge of the (left, right) brow, from outside to inside."""

NOSE_VERTICES = ((168,), (6,), (197,), (195,), (5,), (4,), (1,), (2,), (97, 326), (98, 327))
"""Mesh vertices of the nose: ridge from the root down, tip, and base; pairs share a weight."""

BROW_WEIGHTS = (0.0, 0.036, 0.031, 0.018, 0.074, 0.143, 0.168, 0.155, 0.131, 0.244)
NOSE_WEIGHTS = (0.063, 0.087, 0.068, 0.047, 0.034, 0.032, 0.067, 0.16, 0.192, 0.25)


def _rows() -> np.ndarray:
    rows = np.zeros((3, 468))
    for side in (0, 1):
        for pair, weight in zip(BROW_VERTICES, BROW_WEIGHTS, strict=True):
            rows[side, pair[side]] += weight
    for group, weight in zip(NOSE_VERTICES, NOSE_WEIGHTS, strict=True):
        for vertex in group:
            rows[2, vertex] += weight / len(group)
    return rows / rows.sum(axis=1, keepdims=True)


_ROWS = _rows()


def alignment_points(landmarks: np.ndarray) -> Float:
    """Left-brow centre, right-brow centre and nose of a mesh.

    Args:
        landmarks: (468, 2) mesh in frame pixels.
    Returns: (3, 2) float32, frame pixels, not rounded.
    """
    return (_ROWS @ np.asarray(landmarks, dtype=np.float64)).astype(np.float32)
