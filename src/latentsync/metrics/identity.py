"""Is it still the same person? A stand-in without a face recogniser, and the cosine of one where it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.faces import topology as mesh
from latentsync.metrics.motion import align_similarity

CELLS = 24
"""Side of the shrunk picture: with 24 cells over a 256 px crop skin tone, beard and shading stay, teeth do not."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How alike two clips of aligned faces are.

    Attributes:
        appearance_r: correlation of the time-averaged, low-frequency pictures inside the region, colour included.
        colour_distance: mean absolute difference of those pictures, in levels of 255.
        shape_distance: RMS distance of the time-averaged jaw and nose points, % of the eye distance.
    """

    appearance_r: float
    colour_distance: float
    shape_distance: float

    @property
    def similarity(self) -> float:
        """One figure in [0, 1]: appearance_r, lowered by e for each 25 levels of colour or 10 % of shape (by eye)."""
        penalty = self.colour_distance / 25 + self.shape_distance / 10
        return float(max(0.0, self.appearance_r) * np.exp(-penalty))


def identity_proxy(
    crops: np.ndarray,
    real_crops: np.ndarray,
    landmarks: np.ndarray,
    real_landmarks: np.ndarray,
    region: np.ndarray | None = None,
) -> Identity:
    """Compare what does not move with speech: the average low-frequency picture and the average mesh shape.

    It sees a changed skin tone, a lost beard, a wider jaw. It is no face recogniser: two people alike in these pass,
    and fine features (teeth, wrinkles) are the sharpness scores' part.

    Args:
        crops, real_crops: (F, R, R, 3) uint8 aligned faces, any lengths.
        landmarks, real_landmarks: (F, 468, 2), any scale; NaN frames are left out.
        region: (R, R) weights, e.g. the inpaint mask.
    Source: no published score; a stand-in defined here. On eight real clips, generated region: two clips of the same
    person 0.38 and 0.65 (other clothes and light count against it), of two persons 0.00 to 0.18.
    """
    ours, theirs = _average(crops), _average(real_crops)
    weight = np.ones((CELLS, CELLS)) if region is None else cv2.resize(
        np.asarray(region, np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA
    )  # fmt: skip
    inside = weight > 0.5
    if not inside.any():
        raise ValueError("the region is empty")
    x, y = ours[inside], theirs[inside]
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = float(np.sqrt((dx**2).sum() * (dy**2).sum()))
    return Identity(
        appearance_r=float((dx * dy).sum() / scale) if scale > 0 else 0.0,
        colour_distance=float(np.abs(x - y).mean()),
        shape_distance=_shape_distance(landmarks, real_landmarks),
    )


def embedding_similarity(embed: Callable[[np.ndarray], np.ndarray], crops: np.ndarray, real_crops: np.ndarray) -> float:
    """Cosine of the mean embeddings of a face recogniser given by the user: (F, R, R, 3) uint8 → (F, D)."""
    a, b = (np.asarray(embed(x), dtype=np.float64) for x in (crops, real_crops))
    a, b = ((x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0) for x in (a, b))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _average(crops: np.ndarray) -> np.ndarray:
    mean = np.asarray(crops).mean(axis=0, dtype=np.float64).astype(np.float32)
    return cv2.resize(mean, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float64)


def _shape_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = _mean_shape(ours), _mean_shape(theirs)
    if a is None or b is None:
        return float("nan")
    matrix, shift = align_similarity(a[list(mesh.RIGID)], b[list(mesh.RIGID)])
    points = list(dict.fromkeys(mesh.JAW + mesh.RIGID))
    moved = a[points] @ matrix.T + shift
    eyes = np.linalg.norm(b[mesh.RIGHT_EYE_OUTER] - b[mesh.LEFT_EYE_OUTER])
    return float(100 * np.sqrt(((moved - b[points]) ** 2).sum(axis=1).mean()) / eyes)


def _mean_shape(landmarks: np.ndarray) -> np.ndarray | None:
    track = np.asarray(landmarks, dtype=np.float64)[..., :2]
    track = track[np.isfinite(track).all(axis=(1, 2))]
    if not len(track):
        return None
    matrix, shift = align_similarity(track[:, mesh.RIGID], np.broadcast_to(track[0, mesh.RIGID], (len(track), 19, 2)))
    return (np.einsum("fij,fnj->fni", matrix, track) + shift[:, None]).mean(axis=0)
