"""A still picture of a mouth as it would look with the lips elsewhere.

Where the lips are to go is known as forty points; between them, and out to a ring around the mouth that stays where it
is, every place moves as thin-plate-like interpolation says: of all fields through the points the one of least energy
for the kernel −r (a polyharmonic spline of order 1, Duchon 1977). The field is that of the target picture, so that each
of its pixels is looked up in the still one. Inside lips that open, a closed mouth only shows its seam, drawn out; what
is there has to be drawn. Upper teeth are part of the skull, as the upper lip nearly is: the upper part of the gap keeps
its size, and lips that close push together what is below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.generation.tiny.lip_edges import edges_found
from latentsync.generation.tiny.pose_warp import head_move, terms_at

WarpField = Callable[[Float], Float]

NUM_POINTS = 40
COLUMNS = range(3, 8)
"""The middle five of the inner lips: point 20 + k of the upper one lies over point 40 − k of the lower one."""
RIGID = 0.6
"""Share of the gap between the lips, of the still or of the target mouth, whichever is smaller, that keeps its size
below the upper lip. Open stills of 16 filmed people differ from other open mouths of theirs by 21.7 levels of 255
between the lips, with 0 by 22.8, and by 8.4 instead of 8.5 on all of the mouth (turned alone 10.5):
studies/lip_warp.py."""
RING_CENTRE, RING_RADII = (0.5, 0.66), (0.37, 0.24, 0.30)
"""An ellipse around an aligned mouth that speech is not to move, in crop sides; radii across, up and down."""
RING_POINTS = 20
STIFFNESS = 0.5 / 256
"""How far a point may miss its place, about, crop sides: points of closed lips lie on each other."""
COARSE = 4
"""Pixels to a place where the field is computed; it is linear between."""


@dataclass(frozen=True, slots=True)
class ReferenceLips:
    """The lips in still pictures of one face, in crop sides.

    Attributes:
        own: (n, 40, 2) lip points of each picture.
        first: (n, 40, 2) those of the first picture, as they lie in each one's pose.
        axes: (n, 2, 2) along and down the face, an eye distance long.
    """

    own: Float
    first: Float
    axes: Float

    @classmethod
    def of(cls, points: Float, pictures: np.ndarray, lips: Sequence[int], eyes: tuple[int, int]) -> ReferenceLips:
        """Args: points: (n, 468, 2) meshes in pixels of the pictures (n, R, R, 3), uint8 or float32 in [0, 1]. lips:
        forty vertices, see `lip_edges.edges_found`. eyes: the vertices of the outer eye corners, left and right in the
        picture.
        """
        points, resolution = np.asarray(points, np.float32), len(pictures[0])
        places = (points + np.float32(0.5)) / np.float32(resolution)
        own = np.stack([edges_found(*one) for one in zip(pictures, places[:, list(lips)], strict=True)])
        first = [terms_at(own[:1])[0] @ head_move(points[0], each, resolution) for each in points[1:]]
        across = places[:, eyes[1]] - places[:, eyes[0]]
        axes = np.stack([across, np.stack([-across[:, 1], across[:, 0]], axis=-1)], axis=1)
        return cls(own, np.stack([own[0], *first]), axes)

    def targets(self, change: Float) -> Float:
        """Where the lips are to be in each picture.

        Args: change: (F, 80) from the first picture's lips, in eye distances: all along the face, then all down it
            (`datasets.lip_parameters`).
        Returns: (F, n, 40, 2).
        """
        change = np.asarray(change, np.float32).reshape(len(change), 1, 2, NUM_POINTS).swapaxes(2, 3)
        return np.asarray(self.first + change @ self.axes, np.float32)

    def warp_fields(self, picture: int, target: Float) -> list[WarpField | None]:
        """For `pose_warp` of one of the pictures, of each frame. Args: target: (F, 40, 2)."""
        return [partial(warped_places, own=self.own[picture], target=each) for each in target]


def _ring() -> Float:
    angle = np.linspace(0, 2 * np.pi, RING_POINTS, endpoint=False)
    across, up, down = RING_RADII
    y = np.where(np.sin(angle) > 0, down, up) * np.sin(angle)
    return np.stack([across * np.cos(angle), y], axis=1) + np.array(RING_CENTRE)


RING = _ring()


def field(own: Float, target: Float, places: Float) -> Float:
    """Where a place of the target picture is found in the still one, less the place itself.

    Args:
        own, target: (40, 2) lips of the still and of the target picture, crop sides.
        places: (H, W, 2) of the target picture.
    Returns: (H, W, 2) float32.
    """
    teeth, reference_teeth = _teeth(own, target)
    key_frames = np.concatenate([target, teeth, RING])
    move = np.concatenate([own - target, reference_teeth - teeth, np.zeros_like(RING)])
    count = len(key_frames)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = -np.hypot(*np.moveaxis(key_frames[:, None] - key_frames, -1, 0))
    system[:count, :count] += STIFFNESS * np.eye(count)
    system[:count, count] = system[count, :count] = 1
    weights = np.linalg.solve(system, np.concatenate([move, np.zeros((1, 2))])).astype(np.float32)
    flat, key_frames = places.reshape(-1, 2) - np.float32(0.5), key_frames.astype(np.float32) - np.float32(0.5)
    away = flat @ (-2 * key_frames.T)
    away += np.square(flat).sum(axis=1)[:, None]
    away += np.square(key_frames).sum(axis=1)
    np.sqrt(np.maximum(away, 0, out=away), out=away)
    return np.asarray(weights[count] - away @ weights[:count], np.float32).reshape(places.shape)


def _teeth(own: Float, target: Float) -> tuple[Float, Float]:
    """Places (5, 2) below the upper lip of the target picture, and the same ones in the still picture."""
    upper, lower = [20 + k for k in COLUMNS], [40 - k for k in COLUMNS]
    down, reference_down = target[lower] - target[upper], own[lower] - own[upper]
    gap, reference_gap = (np.maximum(np.hypot(*each.T), np.float32(1e-6))[:, None] for each in (down, reference_down))
    depth = np.float32(RIGID) * np.minimum(gap, reference_gap)
    depth[(down * reference_down).sum(axis=1) <= 0] = 0  # a tracker's closed lips may cross
    return target[upper] + depth * down / gap, own[upper] + depth * reference_down / reference_gap


def warped_places(places: Float, own: Float, target: Float) -> Float:
    """Places of the target picture → those of the still one: (H, W, 2) float32 in crop sides, neighbours side by side;
    the field is computed on a coarser grid."""
    height, width = places.shape[:2]
    coarse = cv2.resize(places, (max(1, width // COARSE), max(1, height // COARSE)), interpolation=cv2.INTER_AREA)
    moved = field(own, target, coarse)
    return np.asarray(places + cv2.resize(moved, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
