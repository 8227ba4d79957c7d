"""Following every face of a video from frame to frame."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import Bytes, Face, Frame, Picture
from latentsync.faces.detector import Detection, FaceDetector, overlap
from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT, FaceMesh, Mesh, Roi, roi_of_detection, roi_of_mesh
from latentsync.faces.protocol import TrackingSession
from latentsync.faces.reid import OTHER_PERSON, SAME_PERSON, Memory, look_of, touches
from latentsync.faces.weights import DETECTOR, MESH, find_face_file

_BEHAVIOUR = 3
"""Raised with every change of this floor that moves what is found."""

_MAX_COVER_S = Fraction(5)
"""How long a face that another one covers is waited for; chosen for people who walk past each other."""

_VIEW_PX = 256
"""Side of what the detector (128 px) is given: twice its own, so that its averaging sees no aliasing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerConfig:
    """How `MeshTracker` looks.

    Attributes:
        start_score: mesh confidence that begins a track.
        keep_score: mesh confidence below which a track has lost its face; lower than `start_score` so that a face at
            the edge does not flicker.
        max_miss_s: how long a track survives without its face.
        search_interval_s: time between two looks at the whole picture for new faces.
        min_face_px: the smallest face (side of the detector's box) that the search zooms in for.
        max_faces: faces followed at once, the largest first.
        threads: CPU threads of each network; the result does not depend on it.
    """

    start_score: float = 0.65
    keep_score: float = 0.5
    max_miss_s: Fraction = Fraction(2, 5)
    search_interval_s: Fraction = Fraction(2, 5)
    min_face_px: int = 40
    max_faces: int = 8
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.keep_score <= self.start_score < 1:
            raise ConfigError("faces.keep_score", self.keep_score, "choose above 0 and at most start_score")
        if self.min_face_px < 16:
            raise ConfigError("faces.min_face_px", self.min_face_px, "choose 16 or more")
        if self.max_faces < 1 or self.threads < 1:
            raise ConfigError("faces.max_faces", self.max_faces, "choose 1 or more faces and threads")


class MeshTracker:
    """MediaPipe's short-range detector and 468-point mesh, run on the CPU by ai-edge-litert.

    The detector looks at the whole picture at intervals, and closer when it finds nothing; a face once found is
    followed by its mesh alone (about 4 ms a frame).
    """

    def __init__(
        self, config: TrackerConfig | None = None, model_folder: Path | None = None, offline: bool = False
    ) -> None:
        """Find and check the network files, without loading them.

        Raises: WeightsError, OfflineError: see `find_face_file`.
        """
        self._config = config or TrackerConfig()
        self._detector_path = find_face_file(DETECTOR, model_folder, offline=offline)
        self._mesh_path = find_face_file(MESH, model_folder, offline=offline)

    @property
    def identity(self) -> str:
        """Trackers of the same identity find the same faces, point for point: what a record of tracks is kept under."""
        return f"MeshTracker {_BEHAVIOUR} {self._config} {DETECTOR.sha256} {MESH.sha256}"

    def open(self) -> TrackingSession:
        """Begin a video with networks of its own, so that sessions may run in different threads."""
        threads = self._config.threads
        return _MeshSession(
            self._config, FaceDetector(self._detector_path, threads), FaceMesh(self._mesh_path, threads)
        )


@dataclass(slots=True)
class _Track:
    track_id: int
    mesh: Mesh
    roi: Roi
    seen_s: Fraction
    memory: Memory
    lost: bool = False
    covered_s: Fraction | None = None
    """Since when another face is in its place; None = it is seen, or lost."""

    def see(self, mesh: Mesh, time_s: Fraction) -> None:
        self.mesh, self.roi, self.seen_s, self.lost = mesh, roi_of_mesh(mesh.points), time_s, False
        self.covered_s = None

    def cover(self, time_s: Fraction) -> None:
        """Wait where the face was last seen by itself: the mesh is on somebody else by now."""
        self.mesh, self.roi = self.memory.mesh, roi_of_mesh(self.memory.mesh.points)
        self.lost, self.covered_s = True, time_s


class _MeshSession(AbstractContextManager[TrackingSession]):
    def __init__(self, config: TrackerConfig, detector: FaceDetector, mesh: FaceMesh) -> None:
        self._config, self._detector, self._mesh = config, detector, mesh
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._next_search_s: Fraction | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tracks.clear()

    def cut(self) -> None:
        self._tracks.clear()
        self._next_search_s = None

    def track(self, frame: Frame) -> tuple[Face, ...]:
        picture, time_s = frame.picture, frame.time_s
        for track in self._tracks:
            if track.covered_s is None:
                self._follow(track, picture, time_s)
        self._part_doubles(time_s)
        for track in self._tracks:
            if track.lost and self._free(track, time_s):
                self._find_again(track, picture, time_s)
        self._tracks = [t for t in self._tracks if self._waits_for(t, time_s)]
        self._search(picture, time_s)
        self._learn(time_s)
        return tuple(_face(t, picture) for t in sorted(self._tracks, key=lambda t: t.track_id) if not t.lost)

    def _follow(self, track: _Track, picture: Picture, time_s: Fraction) -> None:
        mesh = self._mesh(picture, track.roi)
        if mesh.score < self._config.keep_score or not _plausible(mesh, track.roi):
            track.lost = True
        elif track.memory.is_other(track.mesh, mesh):
            track.cover(time_s)
            self._next_search_s = None  # whoever is there begins a track on this very frame
        else:
            track.see(mesh, time_s)

    def _waits_for(self, track: _Track, time_s: Fraction) -> bool:
        if track.covered_s is not None:
            return time_s - track.covered_s <= _MAX_COVER_S
        return time_s - track.seen_s <= self._config.max_miss_s

    def _free(self, track: _Track, time_s: Fraction) -> bool:
        """Whether nobody is in the place of a lost track; a covered one is waited for there for `max_miss_s` more."""
        if track.covered_s is None:
            return True
        if touches(track.mesh, (t.mesh for t in self._tracks if not t.lost)):
            track.seen_s = time_s
        return 0 < time_s - track.seen_s <= self._config.max_miss_s

    def _learn(self, time_s: Fraction) -> None:
        """Now and then, remember how the faces look that stand by themselves."""
        seen = [t for t in self._tracks if not t.lost]
        for track in seen:
            if not track.memory.due(time_s) or touches(track.mesh, (t.mesh for t in seen if t is not track)):
                continue
            known = self._remembered(track.memory.learn(track.mesh, time_s))
            if known is not None:  # a hand was before the face, and it passed for another one
                self._tracks.remove(known)
                track.track_id = min(known.track_id, track.track_id)

    def _remembered(self, look: np.ndarray) -> _Track | None:
        """The covered track that a face belongs to."""
        scores = [(t.memory.likeness(look), -t.track_id, t) for t in self._tracks if t.covered_s is not None]
        score, _, track = max(scores, key=lambda s: s[:2], default=(0.0, 0, None))
        return track if score >= SAME_PERSON else None

    def _find_again(self, track: _Track, picture: Picture, time_s: Fraction) -> None:
        """ShotDescriptor around the place where the face was last seen."""
        half = track.roi.size
        x0, y0 = (max(0, int(v - half)) for v in track.roi.centre)
        x1, y1 = (
            min(end, int(v + half) + 1)
            for v, end in zip(track.roi.centre, (picture.width, picture.height), strict=True)
        )
        if x1 - x0 < 8 or y1 - y0 < 8:
            return
        scale = max(1.0, max(x1 - x0, y1 - y0) / _VIEW_PX)
        small = (max(1, round((x1 - x0) / scale)), max(1, round((y1 - y0) / scale)))
        view = np.rint(picture.shrunk((x0, y0, x1, y1), small) * 255).astype(np.uint8)
        for detection in self._detector(view):
            mesh = self._mesh(picture, roi_of_detection(detection.mapped(scale, (x0, y0))))
            near = np.linalg.norm(_centre(mesh) - _centre(track.mesh)) < 0.5 * track.roi.size
            similar = 0.6 < roi_of_mesh(mesh.points).size / track.roi.size < 1.6
            if mesh.score < self._config.keep_score or not (near and similar) or self._known(mesh, track):
                continue
            least = OTHER_PERSON if track.covered_s is None else SAME_PERSON
            if track.memory.likeness(look_of(mesh)) >= least:
                track.see(mesh, time_s)
                return

    def _search(self, picture: Picture, time_s: Fraction) -> None:
        """ShotDescriptor for faces that no track has: now and then, and on every frame while there is none."""
        due = self._next_search_s is None or time_s >= self._next_search_s
        if self._tracks and not due:
            return
        found = search(self._detector, picture, self._config.min_face_px, thorough=due, stop_early=bool(self._tracks))
        for detection in sorted(found, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2]))):
            if sum(t.covered_s is None for t in self._tracks) >= self._config.max_faces:
                break
            if any(_same(detection.box, t.mesh.box) for t in self._tracks if t.covered_s is None):
                continue
            first = self._mesh(picture, roi_of_detection(detection))
            if first.score < self._config.keep_score:
                continue
            # a second look from the mesh's own square, as every later frame will have it
            mesh = self._mesh(picture, roi_of_mesh(first.points))
            if (
                mesh.score >= self._config.start_score
                and _plausible(mesh, roi_of_mesh(first.points))
                and not self._known(mesh)
            ):
                self._begin(mesh, time_s)
        if due:
            self._next_search_s = time_s + self._config.search_interval_s

    def _known(self, mesh: Mesh, own: _Track | None = None) -> bool:
        return any(_same(mesh.box, t.mesh.box) for t in self._tracks if t is not own and not t.lost)

    def _begin(self, mesh: Mesh, time_s: Fraction) -> None:
        """A face that no track has: one that was covered, or a new one."""
        memory = Memory(mesh, time_s)
        known = self._remembered(look_of(mesh))
        if known is not None:
            known.see(mesh, time_s)
            return
        self._tracks.append(_Track(self._next_id, mesh, roi_of_mesh(mesh.points), time_s, memory))
        self._next_id += 1

    def _part_doubles(self, time_s: Fraction) -> None:
        """Two tracks that came to look at one face: whose it is stays, the other waits for its own to come back."""
        for index, track in enumerate(self._tracks):
            for older in self._tracks[:index]:
                if track.lost or older.lost or not _same(track.mesh.box, older.mesh.box):
                    continue
                if older.memory.resembles(track.memory):  # one person was followed twice
                    track.lost, track.seen_s = True, time_s - 2 * self._config.max_miss_s
                    continue
                look = look_of(older.mesh)
                other = track.memory.likeness(look) > older.memory.likeness(look)
                (older if other else track).cover(time_s)


def search(
    detector: FaceDetector, picture: Picture, min_face_px: int, thorough: bool = True, stop_early: bool = False
) -> list[Detection]:
    """Faces of a whole picture, also small ones.

    The detector sees 128 px, and needs a face of about a tenth of that. So it looks at the whole picture, then at
    squares as wide as the picture's short side, and as long as nothing is found at squares half as wide again, until a
    face of `min_face_px` would fill a seventh of a square.

    Args:
        thorough: False = one look at the whole picture.
        stop_early: no smaller squares than the picture's short side (other faces are known already).
    """
    long_side = max(picture.width, picture.height)
    if not thorough:
        return [_to_frame(f, picture, 256, (0, 0)) for f in detector(picture.thumbnail(256))]
    if stop_early:  # squares as wide as the short side are looked at and no smaller ones
        wanted = math.ceil(long_side * _VIEW_PX / min(picture.width, picture.height))
        wanted = -(-long_side // 2 ** int(math.log2(long_side / wanted))) if wanted < long_side else wanted  # cheaper
    else:  # the smallest square is min_face·7 frame pixels and must still fill the detector's 128
        wanted = math.ceil(long_side * 160 / (min_face_px * 7))
    thumb_px = min(long_side, max(_VIEW_PX, wanted))
    thumbnail = picture.thumbnail(thumb_px)
    found = [_to_frame(f, picture, thumb_px, (0, 0)) for f in detector(thumbnail)]
    side = min(thumbnail.shape[:2])
    smallest = min_face_px * 7 * max(thumbnail.shape[:2]) / long_side
    first = True
    while side >= smallest and (first or not (found or stop_early)):
        if side < 0.9 * max(thumbnail.shape[:2]):
            for x, y, tile in _tiles(thumbnail, int(side)):
                found += [_to_frame(f, picture, thumb_px, (x, y)) for f in detector(tile)]
            found = _without_doubles(found)
        side, first = side / 2, False
    return found


def _tiles(picture: Bytes, side: int) -> list[tuple[int, int, Bytes]]:
    """Squares that overlap by a third or more: (x, y, pixels)."""
    height, width = picture.shape[:2]

    def starts(length: int) -> list[int]:
        count = 1 if length <= side else 1 + math.ceil((length - side) / (side * 2 / 3))
        return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]

    return [(x, y, picture[y : y + side, x : x + side]) for y in starts(height) for x in starts(width)]


def _to_frame(face: Detection, picture: Picture, thumb_px: int, corner: tuple[int, int]) -> Detection:
    """A detection in a tile of the thumbnail, in frame pixels."""
    scale = max(1.0, max(picture.width, picture.height) / thumb_px)
    return face.mapped(scale, (corner[0] * scale, corner[1] * scale))


def _without_doubles(faces: list[Detection]) -> list[Detection]:
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _same(box: np.ndarray, other: np.ndarray) -> bool:
    """Two boxes of one face: they overlap by 0.3, or the centre of one lies in the middle half of the other."""
    if float(overlap(box, other[None])[0]) > 0.3:
        return True
    centre, size = (other[:2] + other[2:]) / 2, other[2:] - other[:2]
    return bool((np.abs((box[:2] + box[2:]) / 2 - centre) < size / 4).all())


def _centre(mesh: Mesh) -> np.ndarray:
    return (mesh.box[:2] + mesh.box[2:]) / 2


def _plausible(mesh: Mesh, roi: Roi) -> bool:
    """A mesh that is neither collapsed nor has run out of the square it was looked for in."""
    eyes = float(np.linalg.norm(mesh.points[EYE_RIGHT] - mesh.points[EYE_LEFT]))
    ratio = roi_of_mesh(mesh.points).size / roi.size
    return eyes > 0.02 * roi.size and 0.5 < ratio < 1.7


def _face(track: _Track, picture: Picture) -> Face:
    points = track.mesh.points
    inside = ((points >= -0.5) & (points < (picture.width - 0.5, picture.height - 0.5))).all(axis=1)
    return Face(track.track_id, points.astype(np.float32), track.mesh.score, float(inside.mean()))
