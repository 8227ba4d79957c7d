"""Frames into chunks: denoised together, ending at cuts and at faceless gaps, overlapping by a few frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from latentsync.core.values import AlignedFace, Frame

FAST_FPS = 32
"""Above this rate frames are dealt into interleaved sets (`num_sets`)."""


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """A frame on its way through the people of a film.

    Attributes:
        faces: where each of them is, None where it cannot be edited or nobody asks.
        is_edited: it has a new mouth. is_asked: one was asked for; is_missing: and there is no face.
    """

    frame: Frame
    faces: tuple[AlignedFace | None, ...]
    is_edited: bool = False
    is_asked: bool = False
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class FrameTask:
    """One frame with what is to be done to it.

    Attributes:
        source: the frame, and what the people before have had done to it.
        face: to be edited; None = there is none.
        audio_features: (K, D) at the frame's time.
        strength: opacity of the new mouth, 0 (leave the frame alone) to 1.
        quiet: how much of a pause it is in which the mouth is to be closed and still, 0 to 1.
        part: number of the speech that is heard; a chunk hears one.
        is_asked: a new mouth is asked for here.
    """

    source: FrameFaces
    face: AlignedFace | None
    audio_features: Tensor
    strength: float = 1.0
    quiet: float = 0.0
    part: int = 0
    is_asked: bool = True

    @property
    def frame(self) -> Frame:
        """The frame, with the new mouths of the people before."""
        return self.source.frame

    @property
    def track_id(self) -> int | None:
        """The track to edit, None where the frame is left alone."""
        return self.face.track_id if self.face is not None and self.strength > 0 else None

    @property
    def required_face(self) -> AlignedFace:
        """The face of a frame that is edited."""
        if self.face is None:
            raise ValueError(f"frame {self.frame.index} has no face to edit")
        return self.face


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames of one track and one speech that are denoised together.

    Attributes:
        tasks: in order, `num_old` + `num_shared` + the new ones.
        num_old: leading frames that were delivered before; they are here as context, so that a short rest is denoised
            among as many frames as the model was trained on.
        num_shared: then frames that the chunk before computed too and held back: cross-faded with this one.
        num_held: trailing frames that the next chunk will share.
    """

    tasks: tuple[FrameTask, ...]
    num_old: int = 0
    num_shared: int = 0
    num_held: int = 0

    @property
    def is_edited(self) -> bool:
        """Whether there is a mouth to make; a chunk without is one frame passing through."""
        return self.tasks[0].track_id is not None


def num_sets(fps: Fraction, model_fps: float) -> int:
    """Interleaved sets that frames are dealt into, so that each set's spacing is near the model's: 1 up to 32 fps."""
    return 1 if fps <= FAST_FPS else max(1, round(float(fps) / model_fps))


def make_chunks(tasks: Iterable[FrameTask], size: int, overlap: int) -> Iterator[Chunk]:
    """Group frames; every one is delivered exactly once, in order.

    Args:
        size: frames in a full chunk. A run of at least `size` frames has full chunks only (the last one reaches back).
        overlap: frames shared by neighbours, less than `size`.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap}, expected 0 to {size - 1}")
    run: list[FrameTask] = []  # delivered context (at most `size`), then shared, then new ones
    num_old = num_shared = 0

    def full() -> Iterator[Chunk]:
        nonlocal run, num_old, num_shared
        while len(run) - num_old - num_shared >= size - num_shared + 1:
            # one more frame than fits has come, so this chunk isn't the last
            yield Chunk(tuple(run[num_old : num_old + size]), 0, num_shared, overlap)
            delivered = num_old + size - overlap
            keep = max(0, delivered - size)
            run, num_old, num_shared = run[keep:], delivered - keep, overlap

    def last() -> Iterator[Chunk]:
        nonlocal run, num_old, num_shared
        if len(run) > num_old + num_shared:
            back = max(0, len(run) - size)
            yield Chunk(tuple(run[back:]), max(0, num_old - back), num_shared)
        run, num_old, num_shared = [], 0, 0

    for task in tasks:
        if run and (task.track_id, task.part) != (run[-1].track_id, run[-1].part):
            yield from last()
        if task.track_id is None:
            yield Chunk((task,))
            continue
        run.append(task)
        yield from full()
    yield from last()
