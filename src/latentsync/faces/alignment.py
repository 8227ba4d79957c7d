"""The similarity transform between a frame and the fixed face template.

Pixel conventions, used everywhere in this floor: coordinates count pixel centres, so pixel (0, 0) lies at (0.0, 0.0).

The released models were trained on crops made in two steps, and the shape of the crop (75 : 100, then squeezed into a
square) is part of what they expect:

1. A similarity M takes the frame to a 75r × 100r crop, r = 2.8·resolution/256 (210×280 at 256). It is sampled with
   corner-aligned coordinates: crop pixel (u, v) shows the frame at M⁻¹(u, v), centres on centres.
2. That crop is resized to resolution × resolution with half-pixel centres: U + ½ = (u + ½)·resolution/width,
   V + ½ = (v + ½)·resolution/height.

Step 2 is itself affine, diag(a, b) with a shift of (a − 1)/2 and (b − 1)/2, where a = resolution/width = 256/210 and
b = resolution/height = 256/280. `alignment_matrix` folds both into one transform, so each pixel is interpolated once.
The template's points land on (58.1, 51.2), (198.1, 51.2) and (128.1, 102.4) of the 256 crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.core.values import Float

TEMPLATE = ((17.0, 20.0), (58.0, 20.0), (37.5, 40.0))
"""Left-brow centre, right-brow centre and nose in the 75×100 template of the released models."""

_TEMPLATE_WIDTH, _TEMPLATE_HEIGHT = 75, 100
_SCALE_AT_256 = 2.8
_OFFSET_MEMORY = 0.2


@dataclass(slots=True)
class ShapeOffset:
    """The running offset that the released tool adds to its translation, carried from call to call.

    Its author calls it smoothing; it is a shape-dependent shift of about 0.1 px which does not depend on where the
    face is.

    Attributes:
        value: (2,) float64 after the first call, in units of the crop's pixels; None before.
    """

    value: np.ndarray | None = None


def aligned_size(resolution: int) -> tuple[int, int]:
    """(width, height) of the released tool's intermediate crop: (210, 280) at 256, (420, 560) at 512."""
    ratio = _SCALE_AT_256 * resolution / 256
    return int(_TEMPLATE_WIDTH * ratio + 1e-6), int(_TEMPLATE_HEIGHT * ratio + 1e-6)


def square_matrix(resolution: int) -> np.ndarray:
    """(2, 3) float64 affine from the intermediate crop to the square one (step 2 above)."""
    width, height = aligned_size(resolution)
    a, b = resolution / width, resolution / height
    return np.array([[a, 0.0, (a - 1) / 2], [0.0, b, (b - 1) / 2]])


def alignment_matrix(
    points: np.ndarray, resolution: int, compatible: bool = False, state: ShapeOffset | None = None
) -> Float:
    """The affine that takes a face in the frame to its place in the crop.

    Args:
        points: (3, 2), any float or integer type: left-brow centre, right-brow centre, nose, in frame pixels ("left" =
            the smaller x of an upright face).
        resolution: side of the square crop in pixels.
        compatible: False: frame → resolution × resolution crop, both steps folded. True: the released tool's own
            matrix, frame → `aligned_size(resolution)` crop (210×280 at 256), with its running offset.
        state: only for `compatible`: the offset carried between calls; None = a first call.
    Returns: (2, 3) float32, computed in float64 and rounded once.
    Raises: ValueError: the points are not (3, 2), not finite, or all the same.
    Source: docs/method.md#alignment; golden values in tests/faces/test_alignment.py.
    """
    source = np.asarray(points, dtype=np.float64)
    if source.shape != (3, 2) or not np.isfinite(source).all():
        raise ValueError(f"points: expected three finite points (3, 2), got {source.shape}")
    target = np.asarray(TEMPLATE) * (_SCALE_AT_256 * resolution / 256)
    matrix, offset = _similarity(source, target)
    if compatible:
        state = state if state is not None else ShapeOffset()
        before = offset if state.value is None else state.value
        state.value = _OFFSET_MEMORY * before + (1 - _OFFSET_MEMORY) * offset
        matrix[:, 2] += state.value
        return matrix.astype(np.float32)
    return compose(square_matrix(resolution), matrix).astype(np.float32)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2, 3) similarity of unit-variance triples (scale = ratio of deviations), and the noses' difference."""
    c1, c2 = source.mean(axis=0), target.mean(axis=0)
    p1, p2 = source - c1, target - c2
    s1, s2 = p1.std(ddof=1), p2.std(ddof=1)
    if s1 == 0:
        raise ValueError("points: all three are the same point")
    p1, p2 = p1 / s1, p2 / s2
    u, _, vt = np.linalg.svd(p1.T @ p2)
    rotation = vt.T @ u.T
    if np.linalg.det(rotation) < 0:
        flipped = vt.T.copy()
        flipped[:, -1] *= -1
        rotation = flipped @ u.T
    linear = (s2 / s1) * rotation
    return np.concatenate([linear, (c2 - linear @ c1)[:, None]], axis=1), p2[2] - p1[2]


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(2, 3) affine that applies `first`, then `second`, in float64."""
    a, b = np.asarray(second, dtype=np.float64), np.asarray(first, dtype=np.float64)
    return np.concatenate([a[:, :2] @ b[:, :2], (a[:, :2] @ b[:, 2] + a[:, 2])[:, None]], axis=1)


def invert(matrix: np.ndarray) -> np.ndarray:
    """(2, 3) float64 inverse of an affine."""
    source = np.asarray(matrix, dtype=np.float64)
    linear = np.linalg.inv(source[:, :2])
    return np.concatenate([linear, (-linear @ source[:, 2])[:, None]], axis=1)


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`points` (..., 2) under a (2, 3) affine, float64."""
    source = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ source[:, :2].T + source[:, 2]
