"""The three points that the released models align faces by, taken from the mesh.

The first release defines them as means of the 68-landmark scheme: points 17–21 (left brow), 22–26 (right brow) and
27–35 (nose). Here each is a weighted mean of mesh vertices; the weights sum to 1, so the points turn, move and grow
with the face. They were fitted by least squares to 300 frames of 30 rendered heads whose 68 landmarks are known, and
checked on 100 frames of 10 other heads: median error 1.9 % and 2.3 % (brows) and 1.3 % (nose) of the distance between
the outer eye corners. (Plain means of the usual corresponding vertices: 5.4 %, 5.2 % and 2.0 %.) Made by
calibration/points.py.
"""

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

BROW_WEIGHTS = (0.015, 0.021, 0.013, 0.0, 0.074, 0.162, 0.159, 0.157, 0.139, 0.26)
NOSE_WEIGHTS = (0.054, 0.098, 0.078, 0.05, 0.022, 0.01, 0.047, 0.168, 0.205, 0.268)


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
