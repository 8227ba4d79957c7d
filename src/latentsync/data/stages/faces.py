"""Follow the face and cut its aligned crops, with the very code that inference uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from latentsync.core.files import atomic_path
from latentsync.core.values import AlignedFace, Face, Frame
from latentsync.data.clip import GRID_FPS, Clip, Rejected
from latentsync.data.grid import grid_frames
from latentsync.data.settings import FaceSettings
from latentsync.data.stages.base import PlainStage
from latentsync.data.stages.face_scores import face_scores
from latentsync.data.workspace import Workspace
from latentsync.faces import FaceFollower, MeshTracker, extract_crop
from latentsync.faces.protocol import FaceTracker, TrackingSession
from latentsync.media.information import VideoInfo
from latentsync.media.pixels import RgbPicture, to_bytes
from latentsync.media.writer import VideoWriter

NAMED_FRAMES = 10
"""Parts of a clip left out that are at least this long get a line of their own in the manifest."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame of a run with a face: index in the clip, time in the source, and the face."""

    index: int
    source_s: Fraction
    face: AlignedFace


class Faces(PlainStage):
    """One clip for each run of frames in which one face is seen without a gap; its crops and geometry beside it.

    Files: "crops" H.264 in 4:4:4, "geometry" npz (see `save_geometry`).
    """

    name = "faces"
    version = 1

    def __init__(self, settings: FaceSettings, min_s: float, tracker: Callable[[], FaceTracker] = MeshTracker) -> None:
        """Args: `min_s`: shorter runs are rejected; `tracker`: makes the tracker, in the process that works."""
        super().__init__(settings)
        self._min_frames = int(min_s * GRID_FPS + 1e-9)
        self._make = tracker
        self._tracker: _Counting | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "min_frames": self._min_frames, "tracker": _name_of(self._make)}

    def open(self, workspace: Workspace) -> None:
        super().open(workspace)
        self._tracker = _Counting(self._make())

    def close(self) -> None:
        self._tracker = None

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        if self._tracker is None:
            raise RuntimeError("Faces is not open")
        found: list[Clip] = []
        borders, longest = [0], 0
        follower = FaceFollower(self._tracker, self.config.choice, self.config.resolution)
        for run, crops in self._runs(clip, follower):
            longest = max(longest, len(run))
            first, after = run[0].index, run[-1].index + 1
            borders += [first, after]
            made = clip.cut(first, len(run)) if len(run) != clip.num_frames else clip
            if len(run) < self._min_frames:
                crops.unlink(missing_ok=True)
                if len(run) >= NAMED_FRAMES:
                    found.append(made.reject(self.name, "face_too_short", made.duration_s, self._min_frames / GRID_FPS))
            else:
                found.append(self._keep(made, run, crops, self._tracker.counts[first:after]))
        said = ", ".join(f"{count} {why}" for why, count in sorted(follower.counts.items()) if why != "face")
        if all(made.rejected for made in found):
            reason = "face_too_short" if longest else "no_face"
            return self.no(reason, longest / GRID_FPS, self._min_frames / GRID_FPS, f"longest run; frames: {said}")
        for first, after in zip(borders[::2], [*borders[1::2], clip.num_frames], strict=True):
            if after - first >= NAMED_FRAMES:
                gap = clip.cut(first, after - first)
                found.append(gap.reject(self.name, "no_face", 0.0, self._min_frames / GRID_FPS, f"frames: {said}"))
        return found

    def _runs(self, clip: Clip, follower: FaceFollower) -> Iterator[tuple[list[Seen], Path]]:
        """Frames with one face without a gap, and the file of their crops."""
        times: list[Fraction] = []

        def frames() -> Iterator[Frame]:
            for frame, source_s in grid_frames(Path(clip.source.path), clip.start_s, clip.num_frames):
                times.append(source_s)
                yield frame

        run: list[Seen] = []
        writer: VideoWriter | None = None
        try:
            for frame, face in follower.follow(frames()):
                if writer is not None and (face is None or face.track_id != run[-1].face.track_id):
                    writer.__exit__(None, None, None)
                    done, writer = writer.path, None
                    yield run, done
                    run = []
                if face is None:
                    continue
                if writer is None:
                    writer = crop_writer(self.workspace.scratch(".mp4"), self.config.resolution, self.config.crf)
                    writer.__enter__()
                crop = to_bytes(extract_crop(frame.picture, face.frame_to_crop, self.config.resolution))
                writer.write(Frame(len(run), Fraction(len(run), GRID_FPS), RgbPicture(crop)))
                run.append(Seen(frame.index, times[frame.index], face))
            if writer is not None:
                writer.__exit__(None, None, None)
                done, writer = writer.path, None
                yield run, done
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, error.__traceback__)
            raise

    def _keep(self, clip: Clip, run: Sequence[Seen], crops: Path, others: Sequence[int]) -> Clip:
        tag = f"{clip.clip_id}-{self.config.resolution}-{self.config.crf:g}"
        video = self.workspace.file(self.name, f"{tag}.mp4")
        geometry = self.workspace.file(self.name, f"{tag}.npz")
        save_geometry(geometry, run)
        crops.replace(video)
        size = (int(clip.facts["width"] or 0), int(clip.facts["height"] or 0))
        made = clip.scored(**face_scores([seen.face for seen in run], self.config.resolution, size, others))
        files = {**made.files, "crops": self.workspace.relative(video), "geometry": self.workspace.relative(geometry)}
        return Clip(
            made.source, made.start_s, made.num_frames, made.clip_id, made.sound_shift_s, made.facts, made.scores, files
        )


def crop_writer(path: Path, resolution: int, crf: float) -> VideoWriter:
    """A writer for aligned crops at 25 fps: H.264, 4:4:4, BT.709, limited range."""
    like = VideoInfo(
        width=resolution,
        height=resolution,
        fps=Fraction(GRID_FPS),
        pix_fmt="yuv444p",
        colorspace=1,
        color_range=1,
        color_primaries=1,
        color_trc=1,
    )
    return VideoWriter(path, like=like, codec="h264", crf=crf, pixel_format="yuv444p")


def save_geometry(path: Path, run: Sequence[Seen]) -> None:
    """Write, all float32 but the last: `landmarks` (F, 468, 2) smoothed, source pixels; `points` (F, 3, 2);
    `frame_to_crop` (F, 2, 3); `score` (F,); `source_time_s` (F,) float64: the time of the source's frame that was on.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            landmarks=np.stack([seen.face.landmarks for seen in run]),
            points=np.stack([seen.face.points for seen in run]),
            frame_to_crop=np.stack([seen.face.frame_to_crop for seen in run]),
            score=np.array([seen.face.score for seen in run], np.float32),
            source_time_s=np.array([float(seen.source_s) for seen in run]),
        )


def load_geometry(path: Path) -> dict[str, np.ndarray]:
    """What `save_geometry` wrote."""
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def _name_of(make: Callable[[], FaceTracker]) -> str:
    wrapped = getattr(make, "func", make)  # functools.partial
    given = getattr(make, "args", ()), getattr(make, "keywords", {})
    return f"{wrapped.__module__}.{wrapped.__qualname__}" + (f" {given}" if any(given) else "")


class _Counting:
    """A tracker that remembers how many faces each frame showed."""

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker
        self.counts: list[int] = []

    def open(self) -> TrackingSession:
        self.counts = []
        return _CountingSession(self._tracker.open(), self.counts)


class _CountingSession(AbstractContextManager[TrackingSession]):
    def __init__(self, inner: TrackingSession, counts: list[int]) -> None:
        self._inner, self._counts = inner, counts

    def __enter__(self) -> TrackingSession:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def cut(self) -> None:
        self._inner.cut()

    def track(self, frame: Frame) -> tuple[Face, ...]:
        faces = self._inner.track(frame)
        self._counts.append(len(faces))
        return faces
