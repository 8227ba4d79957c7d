"""Which of several faces is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.values import Face, Picture

MIN_LIKENESS = 0.4
"""Least likeness to a reference picture; one pair of two people in twenty passes it (measured, see `likeness`)."""

FIRST_FRAMES = 5
"""Frames of a track that are laid against a box: the face may move out of it later."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one track in the frames at hand: its faces with the pictures they were seen in, in order."""

    track_id: int
    faces: tuple[tuple[Picture, Face], ...]

    @property
    def area(self) -> float:
        """Median area of the face's box, square pixels."""
        boxes = np.array([face.box_xyxy for _, face in self.faces])
        return float(np.median((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))

    @property
    def centre(self) -> np.ndarray:
        """(2,) median centre of the face's box."""
        boxes = np.array([face.box_xyxy for _, face in self.faces])
        return np.median((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)


Chooser = Callable[[Sequence[Seen]], int | None]
"""Tracks at hand → id of the one that is meant, or None where it is not among them."""


def parse_choice(choice: str, likeness: Callable[[Path], Callable[[Seen], float]]) -> Chooser:
    """The rule that a user's word stands for.

    Args:
        choice: "largest", "left", "right", an index from the left ("0", "1", …), a place "x,y" or a box
            "x,y,w,h", or the path of a picture of the person. Places and boxes are in frame pixels from the upper left
            corner, or, where no number is above 1, in shares of the frame's width and height.
        likeness: opens a reference picture and returns how much a track looks like it, in [0, 1].
    Raises: ConfigError: none of these. NoFaceError: no face in the reference picture.
    """
    named: Mapping[str, Chooser] = {
        "largest": lambda tracks: max(tracks, key=lambda t: (t.area, -t.track_id)).track_id,
        "left": lambda tracks: min(tracks, key=lambda t: t.centre[0]).track_id,
        "right": lambda tracks: max(tracks, key=lambda t: t.centre[0]).track_id,
    }
    if choice in named:
        return named[choice]
    if re.fullmatch(r"\d+", choice):
        return _by_index(int(choice))
    numbers = [part.strip() for part in choice.split(",")]
    if len(numbers) in (2, 4) and all(re.fullmatch(r"\d*\.?\d+|\d+\.", part) for part in numbers):
        values = np.array([float(part) for part in numbers])
        if len(values) == 2:
            return _by_place(values)
        if not values[2:].all():
            raise ConfigError("face", choice, "choose a box x,y,w,h with a width and a height above 0")
        return _by_box(values)
    path = Path(choice)
    if not path.is_file():
        raise ConfigError(
            "face", choice, "choose largest, left, right, an index, x,y, x,y,w,h or an existing picture file"
        )
    return _by_likeness(likeness(path))


def _by_index(index: int) -> Chooser:
    def choose(tracks: Sequence[Seen]) -> int | None:
        order = sorted(tracks, key=lambda t: float(t.centre[0]))
        return order[index].track_id if index < len(order) else None

    return choose


def _by_place(place: np.ndarray) -> Chooser:
    """The nearest face whose box, grown by half, holds the point; outside every box it is nobody."""

    def choose(tracks: Sequence[Seen]) -> int | None:
        near = []
        for track in tracks:
            point = _in_pixels(place, track)
            half = 0.75 * np.sqrt(track.area)
            if (np.abs(point - track.centre) <= half).all():
                near.append((float(np.linalg.norm(point - track.centre)), track.track_id))
        return min(near)[1] if near else None

    return choose


def _by_box(box: np.ndarray) -> Chooser:
    """The face that overlaps most with the box (x, y, w, h) in its first frames.

    Overlap is the shared area over the area of both together. One of the two has to lie by half inside the other, so
    that a box around somebody who is not there does not take a neighbour whom it touches.
    """

    def choose(tracks: Sequence[Seen]) -> int | None:
        overlaps = []
        for track in tracks:
            x, y, width, height = _in_pixels(box, track)
            faces = np.array([face.box_xyxy for _, face in track.faces[:FIRST_FRAMES]])
            sides = np.minimum(faces[:, 2:], (x + width, y + height)) - np.maximum(faces[:, :2], (x, y))
            shared = np.clip(sides, 0, None).prod(axis=1)
            own = (faces[:, 2:] - faces[:, :2]).prod(axis=1)
            if np.median(shared / np.minimum(own, width * height)) >= 0.5:
                overlaps.append((float(np.median(shared / (own + width * height - shared))), -track.track_id))
        return -max(overlaps)[1] if overlaps else None

    return choose


def _in_pixels(numbers: np.ndarray, track: Seen) -> np.ndarray:
    """A place or box as the user wrote it, in frame pixels."""
    picture = track.faces[0][0]
    return numbers if numbers.max() > 1 else numbers * np.resize([picture.width, picture.height], len(numbers))


def _by_likeness(score: Callable[[Seen], float]) -> Chooser:
    def choose(tracks: Sequence[Seen]) -> int | None:
        scores = sorted(((score(track), -track.track_id) for track in tracks), reverse=True)
        return -scores[0][1] if scores and scores[0][0] >= MIN_LIKENESS else None

    return choose
