"""The 468-point face mesh: a rotated square of the picture in, points in frame pixels out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import Float, Picture
from latentsync.faces.alignment import invert, transform
from latentsync.faces.crop import warp_region
from latentsync.faces.detector import Detection, Network

_INPUT_PX = 192
_ROI_SCALE = 1.5  # side of the square over the longer side of the face's box, as the published graph has it
EYE_LEFT, EYE_RIGHT = 33, 263
"""Mesh points at the outer corners of the eyes, on the left and on the right of the picture."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A rotated square of the frame: centre (2,) in pixels, side in pixels, clockwise angle in radians."""

    centre: np.ndarray
    size: float
    angle: float

    def matrix(self) -> np.ndarray:
        """(2, 3) affine from frame pixels to the network's input pixels (centres at integers on both sides)."""
        scale = _INPUT_PX / self.size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        linear = np.array([[cos, sin], [-sin, cos]])
        return np.concatenate([linear, ((_INPUT_PX - 1) / 2 - linear @ self.centre)[:, None]], axis=1)


@dataclass(frozen=True, slots=True)
class Mesh:
    """What the network says of one square of the picture.

    Attributes:
        points: (468, 2) float64, frame pixels.
        score: the network's belief in [0, 1] that it looks at a face.
        view: (192, 192, 3) float32 RGB in [0, 1], what it was shown.
        frame_to_view: (2, 3) float64 affine.
    """

    points: np.ndarray
    score: float
    view: Float
    frame_to_view: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """(4,) tight box x0, y0, x1, y1."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])


def roi_of_detection(face: Detection) -> Roi:
    """Where the mesh should look for a detected face: turned so that the eyes are level."""
    x0, y0, x1, y1 = face.box
    across = face.keypoints[1] - face.keypoints[0]
    return Roi(
        np.array([(x0 + x1) / 2, (y0 + y1) / 2]), _ROI_SCALE * max(x1 - x0, y1 - y0), math.atan2(across[1], across[0])
    )


def roi_of_mesh(points: np.ndarray) -> Roi:
    """Where the mesh should look in the next frame."""
    across = points[EYE_RIGHT] - points[EYE_LEFT]
    angle = math.atan2(across[1], across[0])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    level = points @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    return Roi(turn.T @ ((low + high) / 2), _ROI_SCALE * float((high - low).max()), angle)


class FaceMesh:
    """Runs the mesh network."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network = Network(path, threads)

    def __call__(self, picture: Picture, roi: Roi) -> Mesh:
        """The mesh of the face in `roi`; only that part of the picture is converted to RGB."""
        matrix = roi.matrix()
        view = warp_region(picture, matrix, (_INPUT_PX, _INPUT_PX), 0.0, cv2.INTER_LINEAR)
        outputs = self._network(view[None])
        raw = next(out for out in outputs if out.size == 468 * 3).reshape(468, 3)[:, :2].astype(np.float64)
        logit = float(next(out for out in outputs if out.size == 1).ravel()[0])
        # the network counts from the corner of its input, this package from the centre of the first pixel
        points = transform(invert(matrix), raw - 0.5)
        return Mesh(points, 1 / (1 + math.exp(-max(-50.0, min(50.0, logit)))), view, matrix)
