"""How large, how straight, how steady and how free a followed face is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentsync.core.values import AlignedFace
from latentsync.faces import TEMPLATE
from latentsync.faces.alignment import invert, transform
from latentsync.faces.pose import yaw_deg

_TEMPLATE_AT_256 = 2.8


def template_points(resolution: int) -> np.ndarray:
    """(3, 2) where brows and nose belong in the square crop, pixels."""
    from latentsync.faces.alignment import square_matrix

    return transform(square_matrix(resolution), np.asarray(TEMPLATE) * (_TEMPLATE_AT_256 * resolution / 256))


def face_scores(
    faces: Sequence[AlignedFace], resolution: int, size: tuple[int, int], num_faces: Sequence[int]
) -> dict[str, float]:
    """Scores of one run of frames.

    Args:
        faces: one a frame.
        size: (width, height) of the source's picture.
        num_faces: faces seen in each of the frames.
    Returns: face_px (median width in the source), yaw_deg (95th percentile of the size of the turn), face_score (5th
        percentile), jump_px (largest second difference of the alignment points, crop pixels), others_share,
        outside_share (mean); and in pixels of a 256 crop align_px (largest distance of a point's mean place from
        the template: a similarity keeps the face's own proportions, so this says how they differ from the
        template's) and steady_px (largest distance of a point, in any frame, from its own mean place).
    """
    widths = [float(np.ptp(face.landmarks[:, 0])) for face in faces]
    points = np.stack([face.points for face in faces]).astype(np.float64)
    scale = np.array([np.sqrt(abs(np.linalg.det(face.frame_to_crop[:, :2].astype(np.float64)))) for face in faces])
    jump = 0.0
    if len(faces) > 2:
        steps = np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean(axis=1)
        jump = float((steps * scale[1:-1]).max())
    placed = np.stack([transform(face.frame_to_crop, face.points) for face in faces])
    mean = placed.mean(axis=0)
    to_256 = 256 / resolution
    return {
        "face_px": float(np.median(widths)),
        "yaw_deg": float(np.percentile([abs(yaw_deg(face.landmarks)) for face in faces], 95)),
        "face_score": float(np.percentile([face.score for face in faces], 5)),
        "jump_px": jump,
        "others_share": float(np.mean(np.asarray(num_faces) > 1)),
        "outside_share": float(np.mean([outside_share(face.frame_to_crop, resolution, size) for face in faces])),
        "align_px": float(np.linalg.norm(mean - template_points(resolution), axis=-1).max()) * to_256,
        "steady_px": float(np.linalg.norm(placed - mean, axis=-1).max()) * to_256,
    }


def outside_share(frame_to_crop: np.ndarray, resolution: int, size: tuple[int, int]) -> float:
    """Part of the crop that lies beyond the picture's edge, from a 16 × 16 grid of its points."""
    at = (np.arange(16) + 0.5) * resolution / 16 - 0.5
    x, y = np.meshgrid(at, at)
    places = transform(invert(frame_to_crop), np.stack([x.ravel(), y.ravel()], axis=1))
    inside = (places >= -0.5).all(axis=1) & (places[:, 0] <= size[0] - 0.5) & (places[:, 1] <= size[1] - 0.5)
    return float(1 - inside.mean())
