"""Look at a video as the scores need it: mesh, lip curves and aligned crops of its main face, frame by frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from latentsync.core.errors import NoFaceError
from latentsync.core.values import Face, Frame
from latentsync.faces.alignment import alignment_matrix
from latentsync.faces.crop import extract_crop
from latentsync.faces.points import alignment_points
from latentsync.faces.protocol import FaceTracker
from latentsync.faces.smoothing import SmoothingConfig, smooth_at
from latentsync.media.pixels import RgbPicture, to_bytes
from latentsync.media.reader import VideoReader
from latentsync.metrics.lips import lip_opening, lip_width

GRID_HZ = 25
"""Rate at which curves are compared and judges look, whatever the video's own."""


@dataclass(frozen=True)
class Watched:
    """The main face of one video.

    Attributes:
        times_s: (F,) seconds from the container's origin, or from the start of the part that was watched.
        landmarks: (F, 468, 2) float32, frame pixels, as the tracker saw them (not smoothed); NaN without a face.
        frame_to_crop: (F, 2, 3) float32; NaN without a face.
        crops: (F, R, R, 3) uint8 RGB aligned; grey without a face.
        size: (width, height) of the video.
    """

    times_s: np.ndarray
    landmarks: np.ndarray
    frame_to_crop: np.ndarray
    crops: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def seen(self) -> np.ndarray:
        """(F,) bool: a face was found."""
        return np.isfinite(self.landmarks[:, 0, 0])

    @cached_property
    def opening(self) -> np.ndarray:
        """Lip opening on the common grid: (G,) at i / 25 s, linear between frames, NaN beside frames without a face."""
        return on_grid(self.times_s, lip_opening(self.landmarks))

    @cached_property
    def width(self) -> np.ndarray:
        """Width of the mouth on the common grid, as `opening`."""
        return on_grid(self.times_s, lip_width(self.landmarks))

    @cached_property
    def grid_frames(self) -> np.ndarray:
        """(G,) index of the frame shown at i / 25 s."""
        grid = np.arange(grid_length(self.times_s)) / GRID_HZ
        return np.clip(np.searchsorted(self.times_s, grid + 1e-6, side="right") - 1, 0, len(self) - 1)

    def at(self, times_s: np.ndarray) -> Watched:
        """The frames shown at other times, one for each, counted from the first frame of either.

        The same rate gives the same frames; another rate repeats frames or leaves some out.
        """
        wanted = times_s - times_s[0] + self.times_s[0]
        after = np.clip(np.searchsorted(self.times_s, wanted), 1, max(len(self) - 1, 1))
        before = after - 1
        after = np.minimum(after, len(self) - 1)
        nearer = np.abs(self.times_s[after] - wanted) <= np.abs(self.times_s[before] - wanted)
        index = np.where(nearer, after, before)
        parts = {name: getattr(self, name)[index] for name in ("landmarks", "frame_to_crop", "crops")}
        return replace(self, times_s=np.asarray(times_s), **parts)

    def cut(self, num_frames: int) -> Watched:
        """The first frames only."""
        parts = {name: getattr(self, name)[:num_frames] for name in ("times_s", "landmarks", "frame_to_crop", "crops")}
        return replace(self, **parts)


@dataclass(frozen=True, slots=True)
class LipCurves:
    """Lip opening and width of a video's main face on the 25 Hz grid, both (G,) as those of `Watched`."""

    opening: np.ndarray
    width: np.ndarray


def grid_length(times_s: np.ndarray) -> int:
    """Points i / 25 s up to the last frame's time."""
    return int(np.floor(times_s[-1] * GRID_HZ + 1e-3)) + 1


def on_grid(times_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at i / 25 s by linear interpolation; where a neighbour is NaN the result is NaN, before the first too."""
    grid = np.arange(grid_length(times_s)) / GRID_HZ
    out = np.interp(grid, times_s, np.nan_to_num(values))
    unknown = np.interp(grid, times_s, (~np.isfinite(values)).astype(float)) > 1e-6
    out[unknown | (grid < times_s[0] - 0.5 / GRID_HZ)] = np.nan
    return out


def watch(
    path: Path,
    tracker: FaceTracker,
    resolution: int = 256,
    geometry: Watched | None = None,
    max_frames: int = 1500,
    *,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
) -> Watched:
    """Follow the main face of a video and cut its aligned crops.

    The main face is the track seen in most frames, the larger one where equal. The video is read twice, so that only
    crops are held, not frames.

    Args:
        geometry: crops are cut where this video's face is (frame by frame), so that a result and its source can be
            compared pixel by pixel; the frames beyond it are left out.
        max_frames: where to stop (crops take about 0.2 MB a frame at 256).
        start_s, end_s: the part to watch, as in `VideoReader`; times count from its start.
    Raises: NoFaceError: no face in any frame. MediaError: the file cannot be read.
    """
    length_s = None
    if geometry is not None:
        step_s = float(np.median(np.diff(geometry.times_s))) if len(geometry) > 1 else 1 / GRID_HZ
        length_s = float(geometry.times_s[-1] - geometry.times_s[0]) + step_s / 2
    times_s, meshes, size = _track(path, tracker, max_frames, start_s, end_s, length_s)
    if geometry is None:
        matrices = _matrices(times_s, meshes, resolution)
    else:
        matrices = geometry.at(times_s).frame_to_crop
    crops = np.full((len(times_s), resolution, resolution, 3), 127, dtype=np.uint8)
    with VideoReader(path, start_s, end_s) as reader:
        for index, frame in enumerate(reader):
            if index >= len(times_s):
                break
            if np.isfinite(matrices[index]).all():
                crops[index] = to_bytes(extract_crop(frame.picture, matrices[index], resolution))
    return Watched(times_s, meshes, matrices, crops, size)


def measure(path: Path, tracker: FaceTracker, max_frames: int = 1500) -> LipCurves:
    """Lip curves of a video's main face, without its crops. Errors: see `watch`."""
    times_s, meshes, _ = _track(path, tracker, max_frames)
    return LipCurves(on_grid(times_s, lip_opening(meshes)), on_grid(times_s, lip_width(meshes)))


def measure_mirrored(path: Path, tracker: FaceTracker, max_frames: int = 1500) -> LipCurves:
    """As `measure`, of the pictures mirrored: the same mouth, measured a second time by the same ruler.

    What the two agree on is the most that a comparison with this mouth can reach.
    """
    times_s, meshes, _ = _track(path, tracker, max_frames, mirrored=True)
    return LipCurves(on_grid(times_s, lip_opening(meshes)), on_grid(times_s, lip_width(meshes)))


def _track(
    path: Path,
    tracker: FaceTracker,
    max_frames: int,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
    length_s: float | None = None,
    mirrored: bool = False,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    times: list[float] = []
    faces: list[tuple[Face, ...]] = []
    size = (0, 0)
    with VideoReader(path, start_s, end_s) as reader, tracker.open() as session:
        for frame in reader:
            time_s = float(frame.time_s - (start_s or 0))
            if len(times) == max_frames or (times and length_s is not None and time_s - times[0] > length_s):
                break
            times.append(time_s)
            faces.append(session.track(_mirrored(frame) if mirrored else frame))
            size = _size(frame)
    main = _main_track(faces)
    if main is None:
        raise NoFaceError(f"{path}: no face was found. Use a clip with a visible face")
    meshes = np.full((len(times), 468, 2), np.nan, dtype=np.float32)
    for index, found in enumerate(faces):
        for face in found:
            if face.track_id == main:
                meshes[index] = face.landmarks[:468]
    return np.asarray(times), meshes, size


def _mirrored(frame: Frame) -> Frame:
    return replace(frame, picture=RgbPicture(np.ascontiguousarray(frame.picture.rgb()[:, ::-1])))


def _size(frame: Frame) -> tuple[int, int]:
    return frame.picture.width, frame.picture.height


def _main_track(faces: list[tuple[Face, ...]]) -> int | None:
    counts: Counter[int] = Counter()
    areas: Counter[int] = Counter()
    for found in faces:
        for face in found:
            x0, y0, x1, y1 = face.box_xyxy
            counts[face.track_id] += 1
            areas[face.track_id] += round((x1 - x0) * (y1 - y0))
    return max(counts, key=lambda track: (counts[track], areas[track])) if counts else None


def _matrices(times_s: np.ndarray, meshes: np.ndarray, resolution: int) -> np.ndarray:
    """Alignment from smoothed points, as the pipeline does it; NaN where there is no face."""
    matrices = np.full((len(times_s), 2, 3), np.nan, dtype=np.float32)
    seen = np.flatnonzero(np.isfinite(meshes[:, 0, 0]))
    points = np.stack([alignment_points(meshes[index]) for index in seen]).astype(np.float64)
    config = SmoothingConfig()
    for at, index in enumerate(seen):
        scale = float(np.linalg.norm(points[at, 1] - points[at, 0]))
        matrices[index] = alignment_matrix(smooth_at(times_s[seen], points, at, scale, config), resolution)
    return matrices
