"""Reference frames of a track: which ones, and how they fit each frame's pose and lips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from latentsync.core.values import AlignedFace, Float
from latentsync.faces import topology as mesh
from latentsync.generation.tiny.borrowed_mouth import hardly_opens, interiors, opened
from latentsync.generation.tiny.config import TinyConfig
from latentsync.generation.tiny.lip_warp import NUM_POINTS, ReferenceLips, WarpField
from latentsync.generation.tiny.pose_warp import (
    crop_terms,
    head_moves,
    places_in_frame,
    pose_warp,
    reach_of,
    shown,
    smoothed,
    source_places,
)
from latentsync.metrics.lips import lip_opening

REFERENCE_FRAMES = 75
"""Frames of a track among which its reference frames are chosen: most people close and open their mouth in three
seconds of speech. Among 50 the most closed mouth of some speakers was not quite closed: recipes/tiny/HISTORY.md."""
ABOUT = 0.04
"""Share of a track's range of lip openings within which mouths are taken as equally closed, or equally open."""
STEADY = 2.0
"""Standard deviation of the mean over time that turns of the head are smoothed by, 1/25 s; see `pose_warp.smoothed`."""
HELD = (0.03, 0.06)
"""Mean distance of the face's rigid points from those of the closed reference, in eye distances: up to the first a
pause shows the reference's own mouth, from the second on the generated one, which follows the turning head. Held
heads of three GRID speakers stay below 0.011 in 99 % of frames; of a man who moves his half the frames are beyond
0.036, one in ten beyond 0.066."""
HELD_WARPED = (0.08, 0.14)
"""The same where the reference is turned as the head is."""


class ChunkReferences(NamedTuple):
    """What a chunk takes of its track's reference frames; see `generation.protocol.ChunkReferences`.

    Attributes:
        pictures: (n, R, R, 3) float32 in [0, 1], reference frames for all its frames, as many as the model takes.
        moves: (F, n, 4, 2) of `tiny.pose_warp.head_move` from each frame to each of them; None = they are taken as they
            are.
        lips: in the pictures; None = they are left where they are.
        target: (F, n, 40, 2) where they are to be, see `tiny.lip_warp`; known with the chunk's audio features.
    """

    pictures: Float
    moves: Float | None = None
    lips: ReferenceLips | None = None
    target: Float | None = None

    def part(self, frames: slice) -> ChunkReferences:
        """The same for some of the chunk's frames."""
        moves = None if self.moves is None else self.moves[frames]
        return self._replace(moves=moves, target=None if self.target is None else self.target[frames])

    def arrays(self) -> Iterator[Float | None]:
        """See `generation.protocol.ChunkReferences`."""
        yield self.pictures
        yield self.moves
        yield from (None,) if self.lips is None else (self.lips.own, self.lips.first, self.lips.axes)

    def warp_fields(self, reference: int) -> list[WarpField | None]:
        """Of one of the references, for each frame."""
        if self.lips is None or self.target is None:
            return [None] * len(cast(Float, self.moves))
        return self.lips.warp_fields(reference, self.target[:, reference])

    def openings(self) -> Float | None:
        """(F, 20, 2) inner lips in the frames, crop sides, where lips are warped."""
        if self.moves is None or self.target is None:
            return None
        inner = self.target[:, 0, NUM_POINTS // 2 :]
        return np.stack([places_in_frame(move, lips) for move, lips in zip(self.moves[:, 0], inner, strict=True)])


class ReferenceMaps:
    """Where what a part of each frame's crop shows is found in the references, worked out once."""

    def __init__(self, references: ChunkReferences, part: tuple[slice, slice]) -> None:
        """Args: references: warped ones. part: rows and columns of the crop."""
        self._references, self._part = references, part
        self._at = np.ascontiguousarray(crop_terms(references.pictures.shape[1])[part])
        self._fields = [references.warp_fields(which) for which in range(len(references.pictures))]
        self._known: dict[tuple[int, int], Float] = {}

    def shown(self, pictures: Float, which: int, frame: int, part: tuple[slice, slice] | None = None) -> Float:
        """(H, W, 3) of one of (n, R, R, 3) pictures that lie as the references do. Args: part: within `part`."""
        if (which, frame) not in self._known:
            move = cast(Float, self._references.moves)[frame, which]
            self._known[which, frame] = source_places(move, self._at, self._fields[which][frame])
        places = self._known[which, frame]
        if part is not None:
            inside = zip(part, self._part, strict=True)
            places = places[tuple(slice(own.start - all_.start, own.stop - all_.start) for own, all_ in inside)]
        return np.asarray(shown(pictures[which], places))


@dataclass(frozen=True, slots=True)
class ReferenceFrames:
    """ChunkReferences of a track: crops (n, R, R, 3), the face's points (n, 468, 2) in them, and their lips where these
    are to be warped."""

    crops: Float
    points: Float
    lips: ReferenceLips | None = None

    def moves(self, face: AlignedFace) -> Float:
        """(n, 4, 2) from the face's crop to each of them, see `tiny.pose_warp`."""
        return head_moves(in_crop(face)[None], self.points, self.crops.shape[1])[0]


class TrackReferences:
    """See `generation.protocol.TrackReferences`. The way to the references is smoothed over time, against the tracker's
    trembling."""

    def __init__(self, frames: ReferenceFrames, is_warped: bool, spacing: int = 1) -> None:
        """Args: spacing: frames of the film to one of the model's frame rate."""
        self.frames, self._is_warped = frames, is_warped
        self._sigma = STEADY * spacing
        self._reach = reach_of(self._sigma)
        self._before: deque[tuple[int, Float]] = deque(maxlen=2 * self._reach)

    @classmethod
    def choose(
        cls, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], config: TinyConfig, spacing: int
    ) -> TrackReferences:
        """See `MouthSampler.choose_references`."""
        points = np.stack([in_crop(face) for face in faces])
        picks = choose_references(points)[: config.num_references]
        crops = np.stack([crop_of(pick) for pick in picks])
        lips = reference_lips(points[picks], crops) if config.warp == "lips" else None
        return cls(with_open_mouth(ReferenceFrames(crops, points[picks], lips)), config.warp != "none", spacing)

    def of_chunk(self, frames: Sequence[int], faces: Sequence[AlignedFace]) -> ChunkReferences:
        """See `generation.protocol.TrackReferences`."""
        moves = self._moves(frames, faces) if self._is_warped else None
        return ChunkReferences(self.frames.crops, moves, self.frames.lips)

    def closed_share(self, face: AlignedFace) -> float:
        """See `generation.protocol.TrackReferences`."""
        alike, apart = HELD_WARPED if self._is_warped else HELD
        points, own = in_crop(face), self.frames.points[0]
        across = own[mesh.RIGHT_EYE_OUTER] - own[mesh.LEFT_EYE_OUTER]
        away = np.hypot(*(points - own)[list(mesh.RIGID)].T).mean() / max(float(np.hypot(*across)), 1e-6)
        return float(np.float32(np.clip((apart - away) / (apart - alike), 0, 1)))

    def closed_mouth(self, references: ChunkReferences, frame: int) -> Float:
        """See `generation.protocol.TrackReferences`."""
        crop: Float = self.frames.crops[0]
        if references.moves is None:
            return crop
        return np.clip(pose_warp(crop, references.moves[frame, 0], crop_terms(len(crop))), 0, 1)

    def _moves(self, frames: Sequence[int], faces: Sequence[AlignedFace]) -> Float:
        """(F, n, 4, 2): from each frame to each reference."""
        earlier = [move for index, move in self._before if frames[0] - self._reach <= index < frames[0]]
        raw = [self.frames.moves(face) for face in faces]
        moves = smoothed(np.stack([*earlier, *raw]), self._sigma, len(earlier))
        known = {index for index, _ in self._before}
        self._before.extend((index, move) for index, move in zip(frames, raw, strict=True) if index not in known)
        return moves


def reference_lips(points: Float, crops: np.ndarray) -> ReferenceLips:
    """The lips in reference pictures (n, R, R, 3) of one face. Args: points: (n, 468, 2) meshes in pixels of them."""
    return ReferenceLips.of(points, crops, mesh.LIPS, (mesh.LEFT_EYE_OUTER, mesh.RIGHT_EYE_OUTER))


def choose_references(points: Float) -> list[int]:
    """A frame with a closed mouth and one with an open mouth, of a track's first ones.

    Of mouths that are about as closed (or open) as any, the one whose head is held as usual and moves least: its
    picture is not blurred, and has the shortest way to the others.

    Args: points: (F, 468, 2) mesh in crop pixels.
    """
    opening = lip_opening(points)
    still = points[:, list(mesh.RIGID)]
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


def with_open_mouth(frames: ReferenceFrames) -> ReferenceFrames:
    """References whose second one shows an open mouth: where the person's own is hardly open, as on a photo with
    closed lips, the first is opened instead, with the inside of a rendered mouth (`tiny.borrowed_mouth`). Without lips
    that can be warped they stay as they are."""
    if frames.lips is None or len(frames.crops) < 2 or not hardly_opens(*lip_opening(frames.points).tolist()):
        return frames
    closed, bank = frames.crops[0], interiors()
    points = np.repeat(frames.points[:1], 2, axis=0)
    lent, lips = opened(closed, frames.lips, bank, bank.nearest(closed))
    return ReferenceFrames(np.stack([closed, lent]), points, lips)


def in_crop(face: AlignedFace) -> Float:
    """(468, 2) float32 points of a face in its crop."""
    return face.landmarks[:, :2] @ face.frame_to_crop[:, :2].T + face.frame_to_crop[:, 2]
