"""Films with planted faces: squares of one colour on grey, and a tracker that finds them as a face tracker finds faces.

So the code above the faces can be tested with exactly known faces, without a portrait and without a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.core.values import Face, Frame
from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT
from latentsync.faces.points import BROW_VERTICES, NOSE_VERTICES

GREY, RED = 128, (200, 40, 40)
Square = tuple[int, int, int]
"""Centre x, centre y, side, in pixels."""


def picture(size: tuple[int, int], squares: Iterable[Square], mouth: tuple[int, int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8: red squares on grey; `mouth` colours the middle of their lower half."""
    width, height = size
    rgb = np.full((height, width, 3), GREY, np.uint8)
    for x, y, side in squares:
        half = side // 2
        rgb[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = RED
        if mouth is not None:
            rgb[y + side // 5 : y + side * 9 // 20, x - side // 5 : x + side // 5] = mouth
    return rgb


def film(path: Path, pictures: Iterable[np.ndarray], fps: Fraction | int = 25) -> Path:
    """Write pictures as H.264 in 4:4:4, nearly lossless."""
    pictures = list(pictures)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps), options={"crf": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv444p"
        for rgb in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")))
        file.mux(stream.encode(None))
    return path


def mesh(square: Square, turn: float = 0.0) -> np.ndarray:
    """(468, 2) float32 landmarks of a planted face; `turn` moves the nose's tip by that share of half the width."""
    x, y, side = square
    angles = np.linspace(0, 2 * np.pi, 468, endpoint=False)
    points = np.stack([x + np.cos(angles) * side / 2, y + np.sin(angles) * side / 2], axis=1)
    for left, right in BROW_VERTICES:
        points[left], points[right] = (x - side * 0.32, y - side * 0.4), (x + side * 0.32, y - side * 0.4)
    for group in NOSE_VERTICES:
        points[list(group)] = (x, y - side * 0.08)
    points[EYE_LEFT], points[EYE_RIGHT] = (x - side * 0.2, y - side * 0.3), (x + side * 0.2, y - side * 0.3)
    points[234], points[454] = (x - side / 2, y), (x + side / 2, y)
    points[1] = (x + turn * side / 2, y)
    return points.astype(np.float32)


class PlantedTracker:
    """Finds red squares, from left to right; touching ones count as one."""

    def __init__(self, turn: float = 0.0) -> None:
        self.turn = turn

    def open(self) -> PlantedSession:
        return PlantedSession(self.turn)


class PlantedSession(AbstractContextManager["PlantedSession"]):
    def __init__(self, turn: float) -> None:
        self.turn, self.num_cuts = turn, 0

    def __exit__(self, *_: object) -> None:
        return None

    def cut(self) -> None:
        self.num_cuts += 1

    def track(self, frame: Frame) -> tuple[Face, ...]:
        rgb = frame.picture.rgb().astype(int)
        red = (rgb[..., 0] - rgb[..., 1] > 80) & (rgb[..., 2] < 100)
        columns = np.flatnonzero(red.any(axis=0))
        faces = []
        for number, run in enumerate(
            np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
        ):
            rows = np.flatnonzero(red[:, run].any(axis=1))
            square = (round(run.mean() + 0.5), round(rows.mean() + 0.5), len(run))
            faces.append(Face(self.num_cuts * 100 + number, mesh(square, self.turn), 0.9))
        return tuple(faces)
