"""The set: light, background, camera framing and the camera's own faults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.core.values import Bytes
from latentsync.synth.arrays import Real
from latentsync.synth.render.canvas import Light
from latentsync.synth.render.exposure import Exposure

FACE_HEIGHT_CM = 22.5
"""Forehead to chin with a margin, of the mean head."""


def _unit(v: object) -> Real:
    a = np.asarray(v, np.float32)
    return a / np.linalg.norm(a)


def warm(k: float) -> Real:
    """Colour of light from cold (k < 0) to warm (k > 0)."""
    return np.array([1 + 0.16 * k, 1.0, 1 - 0.22 * k], np.float32)


def sample_light(rng: np.random.Generator) -> Light:
    """Draw a light set-up. One in six has a strong coloured light, one in six a hard key from far to the side."""
    x = rng.uniform(-1.1, 1.1)
    key = _unit([x, rng.uniform(0.15, 0.9), rng.uniform(0.6, 1.1)])
    fill = _unit([-x - 0.4 * np.sign(x), rng.uniform(-0.2, 0.4), 0.7])
    rim = _unit([rng.choice([-1, 1]) * rng.uniform(0.5, 1), rng.uniform(0.1, 0.7), -0.6])
    ambient = rng.uniform(0.30, 0.60) * warm(rng.normal() * 0.3)
    colours = np.stack(
        [
            rng.uniform(1.5, 2.4) * warm(rng.normal() * 0.55),
            rng.uniform(0.2, 0.8) * warm(rng.normal() * 0.5),
            rng.uniform(0, 1.2) * warm(rng.normal() * 0.5),
        ]
    )
    kind = rng.random()
    if kind < 1 / 6:  # coloured: a saturated fill or rim
        hue = rng.uniform(0.05, 1.0, 3)
        hue = hue / hue.max()
        colours[int(rng.integers(1, 3))] = rng.uniform(0.8, 2.2) * hue
    elif kind < 2 / 6:  # hard side light, little else
        key = _unit([np.sign(x) * rng.uniform(1.0, 1.6), rng.uniform(0.1, 0.7), rng.uniform(0.3, 0.7)])
        ambient, colours[1] = ambient * 0.6, colours[1] * 0.5
    return Light(
        directions=np.stack([key, fill, rim]).astype(np.float32),
        colours=colours.astype(np.float32),
        sky=(ambient * 1.1).astype(np.float32),
        ground=(ambient * rng.uniform(0.4, 0.7) * [1.05, 0.97, 0.9]).astype(np.float32),
        tint=warm(rng.normal() * 0.12),
        exposure=float(rng.uniform(0.62, 0.95)),
        gloss=float(rng.uniform(0.6, 1.3)),
    )


def sample_background(rng: np.random.Generator, size: int) -> Real:
    """(size, size, 3) float32 in 0 … 255: plain, wall, blurred lights or an out-of-focus room."""
    import cv2

    y, x = (np.mgrid[0:size, 0:size] / size).astype(np.float32)
    base, spread = rng.uniform(0.05, 0.55), rng.uniform(0.02, 0.30)
    a, b = (np.clip(base + spread * rng.normal(size=3) * 0.6 + rng.normal() * spread, 0.02, 0.95) for _ in range(2))
    turn = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(turn) * (x - 0.5) + np.sin(turn) * (y - 0.5) + 0.7)[..., None] / 1.4
    image = (a * (1 - ramp) + b * ramp).astype(np.float32)
    kind = rng.choice(["wall", "lights", "room", "room", "plain"])
    if kind == "lights":
        for _ in range(int(rng.integers(15, 60))):
            u, v = rng.uniform(0, size, 2).astype(int)
            colour = image[v % size, u % size] * rng.uniform(0.6, 1.5) + rng.uniform(0, 0.15, 3)
            cv2.circle(image, (int(u), int(v)), int(rng.uniform(0.02, 0.12) * size), colour.tolist(), -1, cv2.LINE_AA)
        image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.006, 0.03))
    elif kind == "room":
        for _ in range(int(rng.integers(4, 18))):
            (u, v), (w, h) = rng.uniform(-0.1, 1, 2) * size, rng.uniform(0.05, 0.5, 2) * size
            colour = rng.uniform(0.05, 0.8) * rng.uniform(0.7, 1, 3)
            cv2.rectangle(image, (int(u), int(v)), (int(u + w), int(v + h)), colour.tolist(), -1)
        image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.004, 0.04))
    elif kind == "wall":
        coarse = cv2.resize(rng.normal(size=(40, 40)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        fine = cv2.resize(rng.normal(size=(size // 2, size // 2)).astype(np.float32), (size, size))
        image = image * (1 + 0.05 * coarse + 0.03 * fine)[..., None]
    return np.clip(image, 0, 1) * np.float32(255)


@dataclass(frozen=True)
class Framing:
    """Where the camera stands: field of view, distance, point it looks at (x, y in cm), its side and height angles."""

    fov_deg: float
    distance_cm: float
    target_cm: tuple[float, float]
    side_rad: float
    height_rad: float

    @staticmethod
    def sample(rng: np.random.Generator, face_share: tuple[float, float]) -> Framing:
        """`face_share`: least and most share of the picture's height that the face takes."""
        fov, share = rng.uniform(19, 30), rng.uniform(*face_share)
        room = FACE_HEIGHT_CM * (1 / share - 1 / 0.7) * 0.5  # smaller faces wander further from the middle
        target = (rng.normal(0, 0.8 + 0.25 * max(room, 0)), rng.uniform(-1.6, 0.6) - 0.5 * max(room, 0) * rng.random())
        return Framing(
            fov_deg=float(fov),
            distance_cm=float(FACE_HEIGHT_CM / share / 2 / np.tan(np.radians(fov / 2))),
            target_cm=(float(target[0]), float(target[1])),
            side_rad=float(np.radians(rng.normal(0, 5))),
            height_rad=float(np.radians(rng.normal(0, 4))),
        )

    def eye(self, target: Real) -> Real:
        """Camera position (3,) in cm for a target (3,)."""
        a, e = self.side_rad, self.height_rad
        return (target + self.distance_cm * np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])).astype(
            np.float32
        )


@dataclass(frozen=True)
class Faults:
    """What a camera does to a picture.

    Attributes:
        blur_px: of the lens. noise: of the sensor, 8-bit steps; grain_px: its grain size.
        crf: quality of the encoder.
        exposure: motion blur, and rows exposed one after the other.
    """

    blur_px: float
    noise: float
    grain_px: float
    crf: int
    exposure: Exposure

    @staticmethod
    def sample(rng: np.random.Generator, size: int) -> Faults:
        """Shutters from 1/1000 s (bright) to a whole frame (dim); half of the sensors read their rows in turn."""
        shutter = rng.choice(
            [rng.uniform(0.02, 0.15), rng.uniform(0.3, 0.55), rng.uniform(0.6, 1.0)], p=[0.4, 0.4, 0.2]
        )
        crf = rng.integers(24, 34) if rng.random() < 0.15 else rng.integers(15, 24)
        return Faults(
            blur_px=float(rng.uniform(0, 0.8) * size / 384),
            noise=float(rng.uniform(0, 3.2)),
            grain_px=float(rng.choice([0.0, 0.0, 0.6, 0.9])),
            crf=int(crf),
            exposure=Exposure(float(shutter), float(rng.uniform(0.2, 0.7)) if rng.random() < 0.5 else 0.0),
        )


class Sensor:
    """Adds the faults to pictures. Noise is a few fixed patterns, flipped and rolled, so that it costs little."""

    def __init__(self, faults: Faults, size: int, rng: np.random.Generator) -> None:
        import cv2

        self._faults, self._rng = faults, rng
        noise = rng.normal(0, 1, (4, size, size)).astype(np.float32)
        if faults.grain_px > 0:
            noise = np.stack([cv2.GaussianBlur(n, (0, 0), faults.grain_px) for n in noise])
            noise /= noise.std()
        self._noise = np.round(noise * faults.noise).astype(np.int16)

    def expose(self, picture: Bytes) -> Bytes:
        """The picture (H, W, 3) as the camera records it; a new array."""
        import cv2

        out = picture
        if self._faults.blur_px > 0.25:
            out = cv2.GaussianBlur(out, (0, 0), self._faults.blur_px)
        if self._faults.noise > 0.3:
            n = np.roll(self._noise[int(self._rng.integers(4))], self._rng.integers(0, 64, 2), (0, 1))
            n = cv2.merge([n, n, n])
            out = cv2.add(out.astype(np.int16), n, dtype=cv2.CV_8U)
        return out.copy() if out is picture else out
