"""A look at a video before a run: faces on sampled frames, lengths, and warnings that name the setting that helps.

Seconds, not minutes: a few dozen frames are decoded, wherever they lie in the film.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.config.options import SyncOptions
from latentsync.config.plan import Plan
from latentsync.core.errors import ConfigError, MediaError, shown
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.values import Face, Frame
from latentsync.faces import FollowerConfig, alignment_matrix, alignment_points
from latentsync.faces.choice import parse_choice
from latentsync.faces.pose import yaw_deg
from latentsync.faces.protocol import FaceTracker
from latentsync.faces.shots import ShotDetector
from latentsync.media.further import further_of
from latentsync.media.information import VideoInfo, probe
from latentsync.media.losses import source_losses
from latentsync.media.reader import VideoReader
from latentsync.media.tracks import SoundTrackInfo
from latentsync.pipeline.speech import length_words, unspoken

SMALL_FACE = 0.35
"""Share of the network's resolution that a face must fill not to be small; chosen by eye on scaled clips."""

LARGE_FACE = 1.5
"""A face this many times larger than the network's crop shows that the mouth was drawn smaller; chosen by eye."""

TURNED_DEG = 45.0
"""From here the far corner of the mouth disappears behind the cheek."""

LEAST_PX = FollowerConfig().min_face_px
"""Narrower faces are not edited by a run."""

READ_WHOLE_FRAMES, NUM_ENTRIES = 1500, 8
"""Videos up to a minute are read whole; longer ones are entered at so many places."""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """One face on one sampled frame.

    Attributes:
        box_xyxy: around the mesh, frame pixels, rounded.
        scale: frame pixels that one pixel of a 256 px crop covers; below 1 the crop is enlarged.
        turn_deg: turn of the head to the side, see `yaw_deg`; 0 = frontal.
        visible: share of the mesh inside the picture.
        score: detector's confidence.
        is_too_small: narrower than `LEAST_PX`, before rounding.
    """

    box_xyxy: tuple[int, int, int, int]
    scale: float
    turn_deg: float
    visible: float
    score: float
    is_too_small: bool = False

    @property
    def width_px(self) -> int:
        return self.box_xyxy[2] - self.box_xyxy[0]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a run would meet. Times in seconds from the start of the video.

    Attributes:
        sounds: the sound tracks of the speech, or of the video where no speech is given. audio_track: which of them
            was chosen, None = the one marked default.
        timecode: of the first frame, None = none.
        further: what else is in the video that can go along, see `media.further`.
        num_read: frames that were decoded to get at the samples: almost all of a video up to a minute.
        num_cuts: hard cuts between those; a run takes up each shot anew.
        losses: what of the video no result keeps, see `media.losses`.
        unheard: a sentence where nobody speaks in the speech.
        damage: of the parts that were read, see `VideoReader.damage`.
    """

    video_path: Path
    width: int
    height: int
    fps: Fraction
    is_variable_rate: bool
    codec: str
    pix_fmt: str
    rotation: int
    duration_s: Fraction | None
    audio_path: Path | None
    audio_duration_s: Fraction | None
    sounds: tuple[SoundTrackInfo, ...]
    audio_track: str | None
    timecode: str | None
    further: tuple[str, ...]
    samples: tuple[tuple[Fraction, tuple[SeenFace, ...]], ...]
    num_read: int
    num_cuts: int
    warnings: tuple[str, ...]
    losses: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    is_interlaced: bool = False

    @property
    def num_with_face(self) -> int:
        return sum(bool(faces) for _, faces in self.samples)

    @property
    def most_faces(self) -> int:
        return max((len(faces) for _, faces in self.samples), default=0)

    @property
    def largest(self) -> list[SeenFace]:
        """The largest face of each sample that has one."""
        return [max(faces, key=lambda face: face.width_px) for _, faces in self.samples if faces]

    def as_dict(self) -> dict[str, object]:
        """Everything, with the counts, for JSON (paths and exact times are left as they are)."""
        samples = [{"time_s": time_s, "faces": [asdict(face) for face in faces]} for time_s, faces in self.samples]
        return asdict(self) | {
            "samples": samples,
            "num_sampled": len(self.samples),
            "num_with_face": self.num_with_face,
            "most_faces": self.most_faces,
            "median_face_width_px": _median([face.width_px for face in self.largest]),
        }


def check_faces(plan: Plan | None, options: SyncOptions) -> None:
    """Refuse words that mean no face, of a plan's entries or of the option.

    Raises: ConfigError: it names the plan and the entry.
    """
    for entry in () if plan is None else plan.entries:
        try:
            _check_face(options.face if entry.face is None else entry.face)
        except ConfigError as error:
            if plan is None or entry.face is None:
                raise
            raise ConfigError("plan", plan.name, f"{entry.words}: face {shown(error.value)}: {error.fix}") from error
    if plan is None:
        _check_face(options.face)


def _check_face(word: str) -> None:
    parse_choice(word, lambda _path: lambda _seen: 0.0)  # pictures are opened by the run


def look(
    video_path: Path,
    audio_path: Path | None = None,
    audio_track: str | None = None,
    *,
    tracker: FaceTracker,
    resolution: int = 256,
    num_samples: int = 32,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> Preflight:
    """Sample `num_samples` frames spread over the video, find the faces on each, and compare the lengths.

    Args:
        audio_path: the speech; None = not known yet.
        audio_track: of its sound tracks, see `SyncOptions.audio_track`.
        resolution: side of the model's crop, for the words about the size of a face.
    Raises: MediaError: a file cannot be read, the video has no picture, the speech no sound.
    """
    media = probe(video_path, audio_track if audio_path is None else None)
    if media.video is None:
        raise MediaError(f"{video_path}: no video in it, only sound. Pass a file with pictures.")
    speech_s, sounds, unheard = None, media.sounds, list[str]()
    if audio_path is not None:
        speech = probe(audio_path, audio_track)
        if speech.audio is None:
            raise MediaError(f"{audio_path}: no sound in it. Pass a file with speech.")
        speech_s, sounds = speech.audio.duration_s, speech.sounds
        unheard = unspoken(audio_path, track=audio_track)
    samples, read = [], _Read()
    with tracker.open() as session:
        for number, frame in enumerate(_spread(video_path, num_samples, read)):
            check(stop)
            session.cut()  # samples lie far apart: each is looked at anew
            samples.append((frame.time_s, tuple(_seen(face) for face in session.track(frame))))
            progress(Progress("looking", number + 1, num_samples))
    info = media.video
    found = Preflight(
        video_path=video_path,
        width=info.width,
        height=info.height,
        fps=info.fps,
        is_variable_rate=info.is_variable_rate,
        codec=info.codec,
        pix_fmt=info.pix_fmt,
        rotation=info.rotation,
        duration_s=info.duration_s,
        audio_path=audio_path,
        audio_duration_s=speech_s,
        sounds=sounds,
        audio_track=audio_track,
        timecode=media.timecode,
        further=further_of(video_path, ".mkv").words,
        samples=tuple(samples),
        num_read=read.frames,
        num_cuts=read.cuts,
        warnings=(),
        losses=source_losses(info),
        unheard=tuple(unheard),
        damage=tuple(read.damage),
        is_interlaced=info.is_interlaced,
    )
    return with_warnings(found, resolution)


def with_warnings(found: Preflight, resolution: int) -> Preflight:
    """`found` with the warnings that its own numbers call for."""
    return replace(found, warnings=tuple(_warnings(found, resolution)))


def large_face_words(scale: float, resolution: int) -> list[str]:
    """A warning where a face is too large for the model. Args: scale: frame pixels that a pixel of its crop covers."""
    if scale <= LARGE_FACE:
        return []
    return [f"the face is {scale:.1f} times larger than the model's {resolution} px: expect a softer mouth."]


def _warnings(found: Preflight, resolution: int) -> Iterator[str]:
    num, largest = len(found.samples), found.largest
    yield from (f"{what}." for what in (*found.losses, *found.unheard, *found.damage))
    if not largest:
        yield "no face on any sampled frame: nothing would be lip-synced. Is the person visible, upright, and not tiny?"
        return
    if found.num_with_face < num:
        yield (
            f"no face on {num - found.num_with_face} of {num} sampled frames: they pass through untouched "
            "(--no-face fail makes that an error)."
        )
    if found.most_faces > 1:
        yield f"up to {found.most_faces} faces at once: choose one with --face (default: the largest)."
    scale = _median([face.scale for face in largest]) * 256 / resolution
    too_small = sum(face.is_too_small for face in largest)
    if too_small:
        yield (
            f"the face is too small to be edited on {too_small} of {num} sampled frames: it is narrower than "
            f"{LEAST_PX:g} px there. Enlarge the video before."
        )
    if scale < SMALL_FACE and too_small < len(largest):
        yield f"the face is small ({_median([face.width_px for face in largest]):.0f} px wide): expect a rough mouth."
    yield from large_face_words(scale, resolution)
    turned = sum(abs(face.turn_deg) > TURNED_DEG for face in largest)
    if turned:
        yield f"the head is turned far to the side on {turned} of {num} sampled frames: check the result there."
    outside = sum(face.visible < 0.95 for face in largest)
    if outside:
        yield f"the face leaves the picture on {outside} of {num} sampled frames."
    if found.is_interlaced:
        yield (
            "the video is interlaced: new mouths move once a frame, not once a field, and only H.264 keeps the fields. "
            "Deinterlaced before (ffmpeg -i IN -vf bwdif OUT) it looks best."
        )
    if found.is_variable_rate:
        yield "the frame rate varies: the result keeps each frame's own time."
    if found.duration_s is not None and found.audio_duration_s is not None:
        yield from length_words(found.duration_s, found.audio_duration_s)


@dataclass
class _Read:
    """Counts what goes by on the way to the samples."""

    frames: int = 0
    cuts: int = 0
    damage: list[str] = field(default_factory=list)

    def counted(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames of one stretch, up to three of them later."""
        for number, (frame, is_first) in enumerate(ShotDetector().mark(frames)):
            self.frames += 1
            self.cuts += is_first and number > 0  # the first of a stretch begins none
            yield frame


def _spread(path: Path, num_samples: int, read: _Read) -> Iterator[Frame]:
    """Up to `num_samples` frames spread over the video, in order.

    A short video is read once, from end to end. A long one is entered at a few places, for a few samples each: every
    entry decodes from the key frame before it, which may be hundreds of frames.
    """
    with VideoReader(path) as reader:
        info = reader.info
    length_s = info.duration_s
    if length_s is None or length_s * info.fps <= READ_WHOLE_FRAMES:
        num_frames = max(1, round(length_s * info.fps)) if length_s is not None else READ_WHOLE_FRAMES
        indices = [(2 * n + 1) * num_frames // (2 * num_samples) for n in range(num_samples)]
        yield from _picked(path, info, None, indices, read)
        return
    each, step = max(1, num_samples // NUM_ENTRIES), max(1, round(info.fps / 2))
    for entry in range(NUM_ENTRIES):
        start_s = length_s * (2 * entry + 1) / (2 * NUM_ENTRIES)
        yield from _picked(path, info, start_s, [step // 2 + n * step for n in range(each)], read)


def _picked(path: Path, info: VideoInfo, start_s: Fraction | None, indices: list[int], read: _Read) -> Iterator[Frame]:
    """The frames with those rising indices, counted from `start_s`; little is decoded after the last of them."""
    wanted = set(indices)
    with VideoReader(path, start_s=start_s, info=info) as reader:
        for frame in read.counted(reader):
            if frame.index in wanted:
                yield frame
            if frame.index >= indices[-1]:
                break
        if reader.damage is not None and reader.damage not in read.damage:
            read.damage.append(reader.damage)


def _seen(face: Face) -> SeenFace:
    points = face.landmarks
    matrix = alignment_matrix(alignment_points(points), 256)
    x0, y0, x1, y1 = face.box_xyxy
    return SeenFace(
        box_xyxy=(round(x0), round(y0), round(x1), round(y1)),
        scale=1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))),
        turn_deg=yaw_deg(points),
        visible=face.visible,
        score=face.score,
        is_too_small=x1 - x0 < LEAST_PX,
    )


def _median(values: list[float] | list[int]) -> float:
    return float(np.median(values)) if values else 0.0
