"""The mouth in pauses: closed, and still."""

from __future__ import annotations

import numpy as np

from latentsync.core.values import Float
from latentsync.generation.protocol import ChunkReferences, TrackReferences
from latentsync.pipeline.chunks import FrameTask

PAUSE_FRAMES = 12
"""Frames over which a mouth is averaged in a pause: it follows a turning head, and no faster movement."""


def is_at_rest(task: FrameTask, track: TrackReferences) -> bool:
    """Whether the closed reference is all that is shown of the mouth."""
    return task.quiet >= 1 and track.closed_share(task.required_face) >= 1


class PauseHolder:
    """Holds the mouth of one person still in pauses: that of the closed reference frame, where the head is held as
    there; else the mean of the generated ones so far, of the last PAUSE_FRAMES about. Frames come in order."""

    def __init__(self) -> None:
        self._mean: Float | None = None
        self._track: int | None = None
        self._num = 0

    def held(
        self,
        task: FrameTask,
        crop: Float | None,
        track: TrackReferences | None,
        references: ChunkReferences | None,
        k: int,
    ) -> Float:
        """The crop to paste; on the way into the pause and out of it partly the generated one.

        Args:
            crop: (R, R, 3) generated; None = the frame is at rest, and none was made.
            references: of its chunk, and the frame's place in it.
        """
        if task.quiet <= 0 or task.track_id != self._track:
            self._mean, self._track, self._num = None, task.track_id, 0
        if crop is None:
            return _closed(track, references, k)
        if task.quiet >= 1:
            self._num = min(self._num + 1, PAUSE_FRAMES)
            self._mean = crop if self._mean is None else self._mean + (crop - self._mean) / np.float32(self._num)
        if self._mean is None and (track is None or task.quiet <= 0):
            return crop
        calm = crop if self._mean is None else self._mean
        if track is not None:
            share = np.float32(track.closed_share(task.required_face))
            calm = calm + share * (_closed(track, references, k) - calm)
        return crop + np.float32(task.quiet) * (calm - crop)


def _closed(track: TrackReferences | None, references: ChunkReferences | None, k: int) -> Float:
    if track is None or references is None:
        raise ValueError("a frame at rest has reference frames")
    return track.closed_mouth(references, k)
