"""A still picture of a face as it would look with the head turned as in another frame.

Alignment takes care of a head's place, size and roll, not of its turn. Points at different depth move differently when
a head turns, so the way from one pose to the other is taken as affine in place and depth, p' = M·p + d·z + t (weak
perspective), and fitted by least squares to points that speech hardly moves. Every pixel then moves as its depth tells.

Depths are those of the mean face of 165 clips of 16 people: the third coordinate of the face mesh after Procrustes
alignment in three dimensions, in hundredths of the distance of the outer eye corners. They come from
calibration/depth.py, with an earlier draw of frames, and are means of both sides of the face: the script
prints values within 1 to 3 hundredths of these. It also says how far the outlines of closed lips lie from those of the
still picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from latentsync.core.values import Float

POINTS = (2, 4, 5, 6, 10, 33, 36, 50, 67, 70, 98, 101, 109, 116, 117, 118, 119, 127, 133, 168, 195, 197, 263, 266, 280,
          297, 300, 327, 330, 338, 345, 346, 347, 348, 356, 362)  # fmt: skip
"""Mesh vertices that speech hardly moves: eye corners, nose, forehead, temples, and the cheeks beside the nose."""
POINT_DEPTHS = (-21, -41, -38, -20, -9, 10, -6, 3, 0, 11, -12, -3, -7, 23, 10, 3, 0, 65, 4, -15, -32, -25, 10, -6, 3,
                0, 11, -12, -3, -7, 23, 10, 3, 0, 65, 4)  # fmt: skip
"""Their depths, about the mean of them; greater = farther away."""
CROP_DEPTHS = (
    (45, 14, -3, -10, -12, -10, -3, 14, 45),
    (43, 3, -9, -13, -16, -13, -9, 3, 43),
    (45, 10, 2, 1, -16, 1, 2, 10, 45),
    (47, 7, -1, -13, -35, -13, -1, 7, 47),
    (54, 6, -5, -17, -31, -17, -5, 6, 54),
    (68, 18, -1, -11, -19, -11, -1, 18, 68),
    (73, 39, 8, -7, -12, -7, 8, 39, 73),
    (73, 57, 26, 3, -3, 3, 26, 57, 73),
    (73, 72, 45, 26, 20, 26, 45, 72, 73),
)
"""Depth of an aligned crop on 9 × 9 equal cells, at their centres."""
DEPTH_UNIT = 0.4
"""Crop sides to a distance of the outer eye corners, about: so that depth counts as place does."""
FIRMNESS = 1e-4
"""Ridge on turn, size and shear, per point, in crop sides: what a tracker's trembling may not explain."""


MIDDLE = (0.5, 0.42)
"""Place in a crop, in its sides, about which a move is written down."""

AROUND_MOUTH = ((0.33, 0.58), (0.67, 0.58), (0.33, 0.75), (0.67, 0.75))
"""Corners of a box around an aligned mouth, in crop sides."""


def head_move(points: Float, reference_points: Float, resolution: int) -> Float:
    """How the head went from a frame to the still picture.

    Args:
        points, reference_points: (468, 2) mesh in pixels of the frame's and of the still picture's crop.
        resolution: side of the crops, pixels.
    Returns: (4, 2) float32: what the `terms` of a place in the frame are to be multiplied with.
    """
    here, there = (
        (np.asarray(each, np.float64)[list(POINTS)] + 0.5) / resolution for each in (points, reference_points)
    )
    given = terms(here, np.array(POINT_DEPTHS) / 100)
    ridge = np.diag([FIRMNESS, FIRMNESS, FIRMNESS, 0.0]) * len(POINTS)
    moved = np.linalg.solve(given.T @ given + ridge, given.T @ (there - here))
    moved[:2] += np.eye(2)
    moved[3] += MIDDLE
    return moved.astype(np.float32)


def head_moves(points: Float, reference_points: Float, resolution: int) -> Float:
    """(F, n, 4, 2): `head_move` from each of the meshes (F, 468, 2) to each of the stills' (n, 468, 2)."""
    return np.stack([[head_move(each, own, resolution) for own in reference_points] for each in points])


def smoothed(moves: Float, sigma: float, first: int = 0) -> Float:
    """Moves without the tracker's trembling: a Gaussian mean over time, shorter at the ends.

    Args:
        moves: (F, …) float32 of frames one after another.
        sigma: standard deviation, frames. Of 2 in 1/25 s it takes the second difference at the mouth from 0.60 to
            0.06 px on held heads and costs no accuracy (256 px crops).
        first: frames before it are only looked at.
    Returns: (F − first, …) float32.
    """
    times = np.arange(len(moves), dtype=np.float32)
    apart = np.abs(times[first:, None] - times)
    weight = np.exp(-0.5 * (apart / np.float32(sigma)) ** 2) * (apart <= reach_of(sigma))
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray(np.tensordot(weight, moves, axes=1), np.float32)


def reach_of(sigma: float) -> int:
    """Frames on either side that `smoothed` looks at."""
    return round(2.5 * sigma)


def key_frames(moves: Float, limit: float, same: float, lips: Float | None = None) -> list[int]:
    """Frames whose pictures are to be made; those between are mixed from the two on either side, by time.

    Args:
        moves: (F, 4, 2) of frames one after another.
        limit: distance that the mouth may go from one of them to the next, in crop sides.
        same: where all of them lie this near the first, it serves them all: a head that is held reference.
        lips: (F, n, 2) places that must not go further either, crop sides.
    Returns: rising, the first is 0 and the last F − 1, or [0].
    """
    corners = terms(np.array(AROUND_MOUTH, np.float32), np.zeros(len(AROUND_MOUTH), np.float32))
    places = np.stack([corners @ move for move in moves])
    if lips is not None:
        places = np.concatenate([places, lips], axis=1)

    def apart(k: int, other: int) -> float:
        return float(np.abs(places[k] - places[other]).max())

    last = len(moves) - 1
    if max(apart(k, 0) for k in range(len(moves))) <= same:
        return [0]
    found = [0]
    while found[-1] < last:
        k = found[-1] + 1
        while k < last and apart(k + 1, found[-1]) <= limit:
            k += 1
        found.append(k)
    return found


def terms(places: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(…, 2) x, y in crop sides and (…) their depths → (…, 4): what a move is linear in, of the places' kind."""
    about = places - np.array(MIDDLE, places.dtype)
    turned = np.asarray(depth, about.dtype)[..., None] * np.asarray(DEPTH_UNIT, about.dtype)
    return np.concatenate([about, turned, np.ones_like(turned)], axis=-1)


def terms_at(places: Float) -> Float:
    """(H, W, 2) float32 x, y in crop sides → (H, W, 4) `terms` with the mean face's depth there."""
    cells = np.asarray(places * len(CROP_DEPTHS) - 0.5, np.float32)
    depth = np.array(CROP_DEPTHS, np.float32) / 100
    return terms(places, cv2.remap(depth, cells, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


@lru_cache(maxsize=8)
def crop_terms(resolution: int) -> Float:
    """(R, R, 4) float32, read-only: `terms` of the pixels of a crop."""
    rows, columns = np.mgrid[:resolution, :resolution].astype(np.float32)
    out = terms_at((np.stack([columns, rows], axis=-1) + np.float32(0.5)) / np.float32(resolution))
    out.setflags(write=False)
    return out


def pose_warp(
    reference: np.ndarray, move: Float, at: Float, warp_field: Callable[[Float], Float] | None = None
) -> np.ndarray:
    """The still picture as it looks in the frame's pose.

    Args:
        reference: (R, R, 3) float32 or uint8.
        move: of `head_move`.
        at: (H, W, 4) `terms` of the places wanted: of `crop_terms`, or a part of it.
        warp_field: what else moves there (`tiny.lip_warp`): places (H, W, 2) in crop sides → where they are found.
    Returns: (H, W, 3) of the same kind, cubic interpolation; float32 overshoots a little at edges.
    """
    return shown(reference, source_places(move, at, warp_field))


def source_places(move: Float, at: Float, warp_field: Callable[[Float], Float] | None = None) -> Float:
    """(H, W, 2) places in the still picture, crop sides, of those wanted; see `pose_warp`."""
    places = np.asarray((at.reshape(-1, 4) @ move).reshape(*at.shape[:2], 2), np.float32)
    return places if warp_field is None else warp_field(places)


def places_in_frame(move: Float, places: Float) -> Float:
    """(…, 2) places of the still picture → those of the frame that `source_places` finds there, crop sides."""
    depth = terms_at(places.reshape(1, -1, 2))[0, :, 2:3]  # as it is there: heads turn little
    away = places.reshape(-1, 2) - depth * move[2] - move[3]
    return np.asarray(away @ np.linalg.inv(move[:2]) + np.array(MIDDLE, np.float32), np.float32).reshape(places.shape)


def shown(reference: np.ndarray, places: Float) -> np.ndarray:
    """(H, W, 3) what a picture (R, R, 3) shows at places (H, W, 2) in crop sides; see `pose_warp`."""
    pixels = places * np.float32(len(reference))
    pixels -= np.float32(0.5)
    return np.asarray(cv2.remap(reference, pixels, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
