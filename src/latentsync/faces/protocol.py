"""What the pipeline asks of a face tracker; `MeshTracker` is the built-in one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from latentsync.core.values import Face, Frame


class TrackingSession(AbstractContextManager["TrackingSession"], Protocol):
    """One video being followed. Frames come in order, each once."""

    def track(self, frame: Frame) -> tuple[Face, ...]:
        """The faces of this frame, in the order in which their tracks began."""
        ...

    def cut(self) -> None:
        """The next frame belongs to another shot: forget every track. Their ids are not used again."""
        ...


class FaceTracker(Protocol):
    """Something that finds and follows faces. Nothing is carried from one session to another."""

    def open(self) -> TrackingSession:
        """Begin a video; the session is a context manager."""
        ...
