"""Small made-up videos with faces: rendered heads (our own renderer) laid into frames, and scripted trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import Face, Frame
from latentsync.faces import TEMPLATE
from latentsync.media import RgbPicture

PICTURES = Path(__file__).parent / "pictures"

TRUE_POINTS = {
    "bald": np.array([(111.63, 85.10), (194.06, 84.14), (151.98, 146.67)]),
    "dark_hair": np.array([(141.59, 73.07), (222.92, 78.41), (182.00, 142.10)]),
}
"""Means of landmarks 17–21, 22–26 and 27–35 of the rendered heads, projected from their geometry, in picture pixels."""


def load(name: str) -> np.ndarray:
    """(320, 320, 3) uint8 RGB."""
    bgr = cv2.imread(str(PICTURES / f"{name}.jpg"), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[..., ::-1])


def frame_of(image: np.ndarray, index: int = 0, fps: int = 25) -> Frame:
    return Frame(index, Fraction(index, fps), RgbPicture(np.ascontiguousarray(image)))


def video(images: Iterable[np.ndarray], fps: int = 25) -> list[Frame]:
    return [frame_of(image, index, fps) for index, image in enumerate(images)]


def place(canvas: np.ndarray, head: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """A copy of `canvas` with the head's picture, side × side, at (x, y)."""
    out = canvas.copy()
    out[y : y + side, x : x + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    return out


def wall(width: int, height: int, level: int = 110) -> np.ndarray:
    """A calm background with a slow gradient."""
    ramp = np.linspace(-20, 20, width)[None, :, None] + np.linspace(-15, 15, height)[:, None, None]
    return np.clip(level + ramp + np.array([8, 0, -8]), 0, 255).astype(np.uint8)


def textured(width: int, height: int, seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    """Band-limited colour noise: something a resampling error shows on."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    smooth /= smooth.std()
    return np.clip(128 + 40 * smooth, 0, 255).astype(np.uint8)


def mesh_at(
    centre: tuple[float, float], width: float = 120.0, yaw_deg: float = 0.0, roll_deg: float = 0.0
) -> np.ndarray:
    """(468, 2) float32 stand-in for a mesh: the points that alignment and pose read are where a face has them."""
    rng = np.random.default_rng(5)
    points = rng.uniform((-0.45, -0.5), (0.45, 0.75), size=(468, 2))
    template = (np.array(TEMPLATE) - (37.5, 30)) / 60
    from latentsync.faces.points import BROW_VERTICES, NOSE_VERTICES

    for left, right in BROW_VERTICES:
        points[left], points[right] = template[0], template[1]
    for group in NOSE_VERTICES:
        points[list(group)] = template[2]
    points[33], points[263] = (-0.33, -0.05), (0.33, -0.05)
    points[234], points[454] = (-0.5, 0.0), (0.5, 0.0)
    points[1] = (0.5 * 1.56 * np.tan(np.radians(yaw_deg)), 0.16)
    t = np.radians(roll_deg)
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return (points * width @ turn.T + centre).astype(np.float32)


Script = Callable[[Frame], Sequence[tuple[int, np.ndarray]]]


class ScriptedTracker:
    """A tracker whose faces are written down beforehand; it keeps to the protocol and remembers what it was told."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.cuts: list[int] = []
        self.opened = self.closed = 0

    def open(self) -> ScriptedSession:
        self.opened += 1
        return ScriptedSession(self, self._script)


class ScriptedSession:
    def __init__(self, owner: ScriptedTracker, script: Script) -> None:
        self._owner, self._script, self._next = owner, script, 0

    def __enter__(self) -> ScriptedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.closed += 1

    def cut(self) -> None:
        self._owner.cuts.append(self._next)

    def track(self, frame: Frame) -> tuple[Face, ...]:
        self._next = frame.index + 1
        faces = []
        for track_id, mesh in self._script(frame):
            size = (frame.picture.width, frame.picture.height)
            inside = ((mesh >= 0) & (mesh < size)).all(axis=1)
            faces.append(Face(track_id, mesh, 0.9, float(inside.mean())))
        return tuple(faces)
