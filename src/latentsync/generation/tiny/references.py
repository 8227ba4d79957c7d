"""Still references of a track: which frames, and how they are turned as each frame's head is."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from latentsync.core.values import AlignedFace, Float
from latentsync.faces import topology as mesh
from latentsync.generation.tiny.borrowed_mouth import SHOWN, interiors, opened
from latentsync.generation.tiny.lip_warp import NUM_POINTS, Bend, Mouths
from latentsync.generation.tiny.pose_warp import crop_terms, found, head_moves, reach_of, shown, smoothed, taken_back
from latentsync.metrics.lips import lip_opening

ABOUT = 0.04
"""Share of a track's range of lip openings within which mouths are taken as equally closed, or equally open."""
STEADY = 2.0
"""Standard deviation of the mean over time that turns of the head are smoothed by, 1/25 s; see `repose.smoothed`."""


class References(NamedTuple):
    """What a chunk is drawn from.

    Attributes:
        pictures: (n, R, R, 3) float32 in [0, 1], still references for all its frames, as many as the model takes.
        moves: (F, n, 4, 2) of `tiny.pose_warp.head_move` from each frame to each of them; None = they are taken as they
            are.
        mouths: lips in the pictures; None = they are left where they are.
        wanted: (F, n, 40, 2) where they are to be, see `tiny.lip_warp`; known when the speech is heard.
    """

    pictures: Float
    moves: Float | None = None
    mouths: Mouths | None = None
    wanted: Float | None = None

    def bends(self, reference: int) -> list[Bend | None]:
        """For `repose`, of each frame."""
        if self.mouths is None or self.wanted is None:
            return [None] * len(cast(Float, self.moves))
        return self.mouths.bends(reference, self.wanted[:, reference])

    def openings(self) -> Float | None:
        """(F, 20, 2) inner lips in the frames, crop sides, where lips are moved."""
        if self.moves is None or self.wanted is None:
            return None
        inner = self.wanted[:, 0, NUM_POINTS // 2 :]
        return np.stack([taken_back(move, lips) for move, lips in zip(self.moves[:, 0], inner, strict=True)])


class Poses:
    """Where what a part of each frame's crop shows is found in the references, worked out once."""

    def __init__(self, references: References, part: tuple[slice, slice]) -> None:
        """Args: references: posed ones. part: rows and columns of the crop."""
        self._references, self._part = references, part
        self._at = np.ascontiguousarray(crop_terms(references.pictures.shape[1])[part])
        self._bends = [references.bends(which) for which in range(len(references.pictures))]
        self._known: dict[tuple[int, int], Float] = {}

    def shown(self, pictures: Float, which: int, frame: int, part: tuple[slice, slice] | None = None) -> Float:
        """(H, W, 3) of one of (n, R, R, 3) pictures that lie as the references do. Args: part: within `part`."""
        if (which, frame) not in self._known:
            move = cast(Float, self._references.moves)[frame, which]
            self._known[which, frame] = found(move, self._at, self._bends[which][frame])
        places = self._known[which, frame]
        if part is not None:
            inside = zip(part, self._part, strict=True)
            places = places[tuple(slice(own.start - all_.start, own.stop - all_.start) for own, all_ in inside)]
        return np.asarray(shown(pictures[which], places))


@dataclass(frozen=True, slots=True)
class Stills:
    """References of a track: crops (n, R, R, 3), the face's points (n, 468, 2) in them, and their lips where these are
    to be moved."""

    crops: Float
    points: Float
    mouths: Mouths | None = None

    def moves(self, face: AlignedFace) -> Float:
        """(n, 4, 2) from the face's crop to each of them, see `tiny.pose_warp`."""
        return head_moves(in_crop(face)[None], self.points, self.crops.shape[1])[0]


def mouths_of(points: Float, crops: np.ndarray) -> Mouths:
    """The lips in still pictures (n, R, R, 3) of one face. Args: points: (n, 468, 2) meshes in pixels of them."""
    return Mouths.of(points, crops, mesh.LIPS, (mesh.LEFT_EYE_OUTER, mesh.RIGHT_EYE_OUTER))


def choose_stills(points: Float) -> list[int]:
    """A frame with a closed mouth and one with an open mouth, of a track's first ones.

    Of mouths that are about as closed (or open) as any, the one whose head is held as usual and moves least: its
    picture is not blurred, and has the shortest way to the others.

    Args: points: (F, 468, 2) mesh in crop pixels.
    """
    opening = lip_opening(points)
    still = points[:, list(mesh.STILL)]
    across = points[:, mesh.RIGHT_EYE_OUTER] - points[:, mesh.LEFT_EYE_OUTER]
    unit = max(float(np.median(np.hypot(*across.T))), 1e-6)
    away = np.hypot(*np.moveaxis(still - np.median(still, axis=0), -1, 0)).mean(axis=1) / unit
    step = np.hypot(*np.moveaxis(np.diff(still, axis=0), -1, 0)).mean(axis=1) / unit
    moving = np.maximum(np.append(step, 0.0), np.append(0.0, step))
    near = ABOUT * (opening.max() - opening.min())
    unfit = away + moving
    closed = np.where(opening <= opening.min() + near, unfit, np.inf)
    wide = np.where(opening >= opening.max() - near, unfit, np.inf)
    return [int(np.argmin(closed)), int(np.argmin(wide))]


def with_open_mouth(stills: Stills) -> Stills:
    """Stills whose second one shows an open mouth: where the person's own is hardly open, as on a photo with closed
    lips, the first is opened instead, with the inside of a rendered mouth (`tiny.borrowed_mouth`). Without lips that
    can be moved they stay as they are."""
    if stills.mouths is None or len(stills.crops) < 2 or lip_opening(stills.points[1:])[0] >= SHOWN:
        return stills
    closed, bank = stills.crops[0], interiors()
    points = np.repeat(stills.points[:1], 2, axis=0)
    lent, mouths = opened(closed, stills.mouths, bank, bank.nearest(closed))
    return Stills(np.stack([closed, lent]), points, mouths)


class Turns:
    """The way from each frame to the still references, without the tracker's trembling."""

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._track: int | None = None
        self._reach = reach_of(sigma)
        self._before: deque[tuple[int, Float]] = deque(maxlen=2 * self._reach)

    def of(self, frames: Sequence[int], faces: Sequence[AlignedFace], still: Stills) -> Float:
        """(F, n, 4, 2): from each frame to each reference. Args: frames: indices of a chunk's frames, rising."""
        if faces[0].track_id != self._track:
            self._before.clear()
            self._track = faces[0].track_id
        earlier = [move for index, move in self._before if frames[0] - self._reach <= index < frames[0]]
        raw = [still.moves(face) for face in faces]
        moves = smoothed(np.stack([*earlier, *raw]), self._sigma, len(earlier))
        known = {index for index, _ in self._before}
        self._before.extend((index, move) for index, move in zip(frames, raw, strict=True) if index not in known)
        return moves


def in_crop(face: AlignedFace) -> Float:
    """(468, 2) float32 points of a face in its crop."""
    return face.landmarks[:, :2] @ face.frame_to_crop[:, :2].T + face.frame_to_crop[:, 2]
