"""Scores over time: mouth landmark distance, jitter, and seams at chunk borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentsync.faces import topology as mesh
from latentsync.metrics.image import luma


def align_similarity(points: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation with scale (…, 2, 2) and shift (…, 2) that take `points` nearest to `onto` in the least-squares sense.

    Both (…, N, 2); a point p moves to p @ matrixᵀ + shift. Source: Umeyama 1991, in the plane (complex regression).
    """
    centre, goal = points.mean(axis=-2, keepdims=True), onto.mean(axis=-2, keepdims=True)
    p, q = points - centre, onto - goal
    scale = (p**2).sum(axis=(-2, -1))
    scale = np.where(scale > 0, scale, 1.0)
    a = (p * q).sum(axis=(-2, -1)) / scale
    b = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(axis=-1) / scale
    matrix = np.stack([np.stack([a, -b], axis=-1), np.stack([b, a], axis=-1)], axis=-2)
    shift = goal[..., 0, :] - np.einsum("...ij,...j->...i", matrix, centre[..., 0, :])
    return matrix, shift


def mouth_landmark_distance(generated: np.ndarray, real: np.ndarray) -> float:
    """Mean distance of the 40 lip points, % of the real face's eye distance, each frame aligned on still points.

    Aligning takes away head motion and framing, so what is left is the mouth. Only for the same words (reconstruction).

    Args:
        generated, real: (F, 468, 2) meshes; the longer is cut, frames where either has no face (NaN) are left out.
    Returns: NaN without a common frame.
    Source: LMD of Chen et al. 2018; ours aligns on eyes, nose and forehead instead of the mouth's own centre, so a
        mouth in the wrong place counts.
    """
    length = min(len(generated), len(real))
    ours, theirs = np.asarray(generated[:length], np.float64)[..., :2], np.asarray(real[:length], np.float64)[..., :2]
    seen = np.isfinite(ours).all(axis=(1, 2)) & np.isfinite(theirs).all(axis=(1, 2))
    if not seen.any():
        return float("nan")
    ours, theirs = ours[seen], theirs[seen]
    matrix, shift = align_similarity(ours[:, mesh.RIGID], theirs[:, mesh.RIGID])
    moved = np.einsum("fij,fnj->fni", matrix, ours[:, mesh.LIPS]) + shift[:, None]
    distance = np.linalg.norm(moved - theirs[:, mesh.LIPS], axis=-1).mean(axis=1)
    return float(100 * (distance / _eye_distance(theirs)).mean())


def jitter(landmarks: np.ndarray, points: Sequence[int] = mesh.RIGID) -> float:
    """Median acceleration of a group of points, % of the eye distance per frame².

    Trembling shows in the second difference, steady head motion does not. Real motion is included: compare with the
    untouched video. NaN below three consecutive frames with a face.

    Source: the jitter figure of the project's tracker comparison (median second difference).
    """
    track = np.asarray(landmarks, dtype=np.float64)[..., :2]
    if len(track) < 3:
        return float("nan")
    acceleration = np.linalg.norm(np.diff(track[:, list(points)], n=2, axis=0), axis=-1)
    relative = 100 * acceleration.mean(axis=1) / _eye_distance(track)[1:-1]
    relative = relative[np.isfinite(relative)]
    return float(np.median(relative)) if len(relative) else float("nan")


def border_flicker(clip: np.ndarray, real: np.ndarray, inpaint_mask: np.ndarray, width_px: int = 3) -> float:
    """Second difference over time of the luma along the mask's border, over the untouched clip's: 1 = as calm.

    Args:
        clip, real: (F, H, W, 3) uint8 aligned crops of the result and of the untouched video.
        inpaint_mask: (H, W) 1 = generated.
    """
    band = border_band(inpaint_mask, width_px)
    ours, theirs = (float(np.abs(np.diff(luma(x[:, band]), n=2, axis=0)).mean()) for x in (clip, real))
    return ours / theirs if theirs > 0 else float("nan")


def border_band(inpaint_mask: np.ndarray, width_px: int) -> np.ndarray:
    """(H, W) bool: pixels within `width_px` (chessboard) of the 0.5 contour."""
    binary = np.pad(np.asarray(inpaint_mask) >= 0.5, width_px, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(binary, (2 * width_px + 1, 2 * width_px + 1))
    return np.logical_and(views.any(axis=(2, 3)), ~views.all(axis=(2, 3)))


def seam_score(clip: np.ndarray, borders: Sequence[int], region: np.ndarray | None = None) -> float:
    """Change from frame to frame across chunk borders over the change elsewhere; 1 = no seam.

    Args:
        clip: (F, H, W, 3) uint8 aligned crops of the result.
        borders: index of the first frame of each chunk but the first.
        region: (H, W) weights, e.g. the inpaint mask; None = everywhere.
    Returns: ratio of means; NaN without a border or without other frames.
    """
    light = luma(clip)
    change = np.abs(np.diff(light, axis=0))
    weight = np.ones(light.shape[1:]) if region is None else np.asarray(region, dtype=np.float64)
    per_step = (change * weight).sum(axis=(1, 2)) / weight.sum()
    at = np.zeros(len(per_step), dtype=bool)
    at[[border - 1 for border in borders if 0 < border < len(light)]] = True
    if not at.any() or at.all() or per_step[~at].mean() == 0:
        return float("nan")
    return float(per_step[at].mean() / per_step[~at].mean())


def _eye_distance(track: np.ndarray) -> np.ndarray:
    return np.linalg.norm(track[:, mesh.RIGHT_EYE_OUTER] - track[:, mesh.LEFT_EYE_OUTER], axis=-1)
