"""The face to edit, frame by frame: shots, tracks, choice and smoothing put together."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import AlignedFace, Face, Frame, Picture
from latentsync.faces.alignment import alignment_matrix, invert, transform
from latentsync.faces.choice import MIN_LIKENESS, Chooser, Seen, parse_choice
from latentsync.faces.likeness import describe, reference_likeness, track_likeness
from latentsync.faces.points import alignment_points
from latentsync.faces.pose import yaw_deg
from latentsync.faces.protocol import FaceTracker, TrackingSession
from latentsync.faces.shots import ShotConfig, ShotDetector
from latentsync.faces.smoothing import SmoothingConfig, smooth_at


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowerConfig:
    """When a face is fit to be edited.

    Attributes:
        min_face_px: least width of the mesh in frame pixels.
        max_yaw_deg: how far the face may be turned to a side, as `yaw_deg` measures it (40 stands for about 48).
        min_visible: least share of the mesh inside the picture.
        max_bridge_frames: so many missed frames between two seen ones are filled in along a straight line.
        smoothing, shots: see there.
    """

    min_face_px: float = 32.0
    max_yaw_deg: float = 40.0
    min_visible: float = 0.6
    max_bridge_frames: int = 3
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    shots: ShotConfig = field(default_factory=ShotConfig)

    def __post_init__(self) -> None:
        if not 0 < self.max_yaw_deg < 90:
            raise ConfigError("follower.max_yaw_deg", self.max_yaw_deg, "choose between 0 and 90")
        if not 0 <= self.min_visible <= 1:
            raise ConfigError("follower.min_visible", self.min_visible, "choose 0 to 1")
        if not 0 <= self.max_bridge_frames <= self.smoothing.reach_frames:
            fix = f"choose 0 to smoothing.reach_frames = {self.smoothing.reach_frames}"
            raise ConfigError("follower.max_bridge_frames", self.max_bridge_frames, fix)


@dataclass(slots=True)
class _Moment:
    """One frame with the faces found in it; `shot` counts the shots from 0."""

    frame: Frame
    shot: int
    faces: tuple[Face, ...]

    def face_of(self, track_id: int | None) -> Face | None:
        return next((face for face in self.faces if face.track_id == track_id), None)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What smoothing needs of a frame already yielded: no picture is kept."""

    time_s: float
    track_id: int
    points: np.ndarray


@dataclass(frozen=True, slots=True)
class Wanted:
    """A face to follow.

    Attributes:
        choice: see `parse_choice`.
        spans: (start_s, end_s) of the frames' time in which it is wanted, rising and apart; None = always. The face is
            chosen anew in the first frames of each.
    """

    choice: str = "largest"
    spans: tuple[tuple[Fraction, Fraction], ...] | None = None

    def span_at(self, time_s: Fraction) -> int | None:
        """Number of the span that holds a time, None outside of all."""
        if self.spans is None:
            return 0
        number = bisect_right(self.spans, time_s, key=lambda span: span[0]) - 1
        return number if number >= 0 and time_s < self.spans[number][1] else None


class PeopleFollower:
    """Follows several faces at once, which costs no more tracking than one: see `FaceFollower`.

    Attributes: most_faces: seen at once so far on a frame of the current or last video where a face is wanted.
    """

    def __init__(
        self,
        tracker: FaceTracker,
        wanted: Sequence[Wanted],
        resolution: int = 256,
        config: FollowerConfig | None = None,
    ) -> None:
        """Args and errors: see `FaceFollower`."""
        self._tracker, self._resolution = tracker, resolution
        self._config = config or FollowerConfig()
        self._wanted = [
            (one, parse_choice(one.choice, lambda path: reference_likeness(path, tracker))) for one in wanted
        ]
        self.counts: Counter[str] = Counter()
        self.most_faces = 0

    def follow(
        self, frames: Iterable[Frame], tracker: FaceTracker | None = None
    ) -> Generator[tuple[Frame, tuple[AlignedFace | None, ...]], None, None]:
        """Yield every frame in order with the wanted faces, in their order, None where there is nothing to edit."""
        self.counts, self.most_faces = Counter(), 0
        with (tracker or self._tracker).open() as session:
            people = [
                _Person(self._config, wanted, choose, self._resolution, self.counts) for wanted, choose in self._wanted
            ]
            waiting: deque[Frame] = deque()
            for moment in self._moments(frames, session):
                waiting.append(moment.frame)
                if any(wanted.span_at(moment.frame.time_s) is not None for wanted, _ in self._wanted):
                    self.most_faces = max(self.most_faces, len(moment.faces))
                for person in people:
                    person.waiting.append(moment)
                if len(waiting) > self._config.smoothing.reach_frames:
                    yield waiting.popleft(), tuple(person.decide() for person in people)
            while waiting:
                yield waiting.popleft(), tuple(person.decide() for person in people)

    def _moments(self, frames: Iterable[Frame], session: TrackingSession) -> Iterator[_Moment]:
        shot = -1
        for frame, begins in ShotDetector(self._config.shots).mark(frames):
            if begins:
                shot += 1
                session.cut()
            yield _Moment(frame, shot, session.track(frame))


class FaceFollower:
    """Follows one face through a video and says, for each frame, where it is or that it cannot be edited.

    The face is chosen when a shot first shows one, from all frames at hand, and then held: no frame ever swaps to
    another face that was seen beside it. Should its track end within the shot, only a track that began later and looks
    like it is taken up.
    """

    def __init__(
        self, tracker: FaceTracker, choice: str = "largest", resolution: int = 256, config: FollowerConfig | None = None
    ) -> None:
        """Args: see `parse_choice` for `choice`; `resolution` is the crop's side in pixels.

        Raises: ConfigError: unknown choice. MediaError, NoFaceError: the reference picture cannot be used.
        """
        self._config = config or FollowerConfig()
        self._people = PeopleFollower(tracker, [Wanted(choice)], resolution, self._config)

    @property
    def counts(self) -> Counter[str]:
        """Frames of the current or last video by outcome: "face", "bridged" (a filled miss), and the reasons for None:
        "no_face", "not_chosen" (faces, but not the one that is meant), "too_small", "profile", "outside"."""
        return self._people.counts

    @property
    def lookahead(self) -> int:
        """Frames held back at most."""
        return self._config.shots.reach_frames + self._config.smoothing.reach_frames

    def follow(
        self, frames: Iterable[Frame], tracker: FaceTracker | None = None
    ) -> Iterator[tuple[Frame, AlignedFace | None]]:
        """Yield every frame in order with its face, or None where there is nothing to edit.

        Args: tracker: of this video, e.g. one that remembers it; None = the one given at first.
        All state belongs to this call: it begins with the first frame and ends when the iterator is closed.
        """
        with closing(self._people.follow(frames, tracker)) as followed:
            for frame, (face,) in followed:
                yield frame, face


class _Person:
    """State of one wanted face: frames waiting for their future, samples of the past, the face that is held."""

    def __init__(
        self, config: FollowerConfig, wanted: Wanted, choose: Chooser, resolution: int, counts: Counter[str]
    ) -> None:
        self._config, self._wanted, self._choose = config, wanted, choose
        self._resolution, self._counts = resolution, counts
        self.waiting: deque[_Moment] = deque()
        self._past: deque[_Sample] = deque(maxlen=config.smoothing.reach_frames)
        self._scene: tuple[int, int | None] = (-1, None)
        self._held: int | None = None
        self._looks = np.zeros(0)
        self._beside: set[int] = set()
        self._last: tuple[Frame, Face] | None = None

    def decide(self) -> AlignedFace | None:
        """The verdict on the oldest waiting frame, which leaves the queue."""
        moment = self.waiting[0]
        span = self._wanted.span_at(moment.frame.time_s)
        if (moment.shot, span) != self._scene:
            self._scene, self._held, self._beside, self._last = (moment.shot, span), None, set(), None
            self._past.clear()
        if span is None:
            self.waiting.popleft()
            return None
        self._hold(moment)
        face, outcome = self._verdict(moment)
        self._counts[outcome] += 1
        self.waiting.popleft()
        return face

    def _hold(self, moment: _Moment) -> None:
        """Choose a face if none is held, or if the held track is over."""
        ahead = [m for m in self.waiting if m.shot == moment.shot]
        if self._held is None or not any(m.face_of(self._held) for m in ahead):
            tracks = _seen(ahead)
            if not tracks or not moment.faces:
                return
            chosen = self._choose(tracks) if self._held is None else self._successor(tracks)
            if chosen is None:
                return
            if self._held is None:
                picture, face = next(t for t in tracks if t.track_id == chosen).faces[0]
                self._looks = describe(picture, face.landmarks)
            self._held = chosen
        self._beside |= {f.track_id for m in ahead if m.face_of(self._held) for f in m.faces} - {self._held}

    def _successor(self, tracks: Sequence[Seen]) -> int | None:
        """A later track of the same person: never one that was seen beside it."""
        scores = [(track_likeness(self._looks, t), -t.track_id) for t in tracks if t.track_id not in self._beside]
        score, track_id = max(scores, default=(0.0, 0))
        return -track_id if score >= MIN_LIKENESS else None

    def _verdict(self, moment: _Moment) -> tuple[AlignedFace | None, str]:
        face, outcome = moment.face_of(self._held), "face"
        if face is None:
            face, outcome = self._bridge(moment), "bridged"
        else:
            self._last = (moment.frame, face)
        if face is None:
            return None, "not_chosen" if moment.faces else "no_face"
        reason = self._unfit(face)
        sample = _Sample(float(moment.frame.time_s), face.track_id, alignment_points(face.landmarks))
        aligned = self._aligned(moment, sample, face) if reason is None else None
        self._past.append(sample)
        return aligned, reason or outcome

    def _bridge(self, moment: _Moment) -> Face | None:
        """The face of a missed frame between two seen ones, if the gap is short."""
        if self._last is None or self._last[1].track_id != self._held:
            return None
        later = (m for m in self.waiting if m.shot == moment.shot and m.face_of(self._held))
        after = next(later, None)
        if after is None or after.frame.index - self._last[0].index - 1 > self._config.max_bridge_frames:
            return None
        (frame, old), new = self._last, after.face_of(self._held)
        if new is None:
            return None
        share = float((moment.frame.time_s - frame.time_s) / (after.frame.time_s - frame.time_s))
        landmarks = old.landmarks + np.float32(share) * (new.landmarks - old.landmarks)
        return Face(old.track_id, landmarks, min(old.score, new.score), min(old.visible, new.visible))

    def _aligned(self, moment: _Moment, sample: _Sample, face: Face) -> AlignedFace:
        """The face with its points smoothed, and its mesh carried along rigidly, so that the lips keep their motion."""
        past = [s for s in self._past if s.track_id == face.track_id]
        future = [(m, m.face_of(face.track_id)) for m in self.waiting if m is not moment and m.shot == moment.shot]
        coming = [_Sample(float(m.frame.time_s), f.track_id, alignment_points(f.landmarks)) for m, f in future if f]
        samples = [*past, sample, *coming]
        times = np.array([s.time_s for s in samples])
        points = np.stack([s.points for s in samples]).astype(np.float64)
        scale = float(np.linalg.norm(sample.points[1] - sample.points[0]))
        smooth = smooth_at(times, points, len(past), scale, self._config.smoothing)
        matrix = alignment_matrix(smooth, self._resolution)
        raw = alignment_matrix(sample.points, self._resolution)
        landmarks = transform(invert(matrix), transform(raw, face.landmarks))
        return AlignedFace(face.track_id, smooth.astype(np.float32), matrix, landmarks.astype(np.float32), face.score)

    def _unfit(self, face: Face) -> str | None:
        x0, _, x1, _ = face.box_xyxy
        if x1 - x0 < self._config.min_face_px:
            return "too_small"
        if face.visible < self._config.min_visible:
            return "outside"
        if abs(yaw_deg(face.landmarks)) > self._config.max_yaw_deg:
            return "profile"
        return None


def _seen(moments: Iterable[_Moment]) -> list[Seen]:
    """The tracks of some moments of one shot, in the order of their ids."""
    faces: dict[int, list[tuple[Picture, Face]]] = {}
    for moment in moments:
        for face in moment.faces:
            faces.setdefault(face.track_id, []).append((moment.frame.picture, face))
    return [Seen(track_id, tuple(found)) for track_id, found in sorted(faces.items())]
