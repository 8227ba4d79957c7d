"""How head, eyes and brows move while somebody talks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float

Track = NDArray[np.float64]
FPS = 25


def wander(rng: np.random.Generator, num: int, period_s: float) -> Track:
    """Band-limited noise (num,) of about unit deviation at 25 per second, with knots every `period_s`."""
    knots = rng.normal(size=int(num / FPS / period_s) + 5)
    x = np.arange(num) / FPS / period_s + 1
    i = x.astype(int)
    f = x - i
    a, b, c, d = knots[i - 1], knots[i], knots[i + 1], knots[i + 2]
    out: Track = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    return out


@dataclass(frozen=True, eq=False)
class Motion:
    """Tracks over the frames of a clip.

    Attributes:
        yaw, pitch, roll: (F,) radians. shift_cm: (F, 3).
        blink: (F,) in [0, 1]. gaze: (F, 2) right and down, about radians. brow: (F,) −0.4 (down) … 0.8 (up).
    """

    yaw: Track
    pitch: Track
    roll: Track
    shift_cm: NDArray[np.float64]
    blink: Track
    gaze: NDArray[np.float64]
    brow: Track


def loudness(audio: Float, num: int, rate_hz: int = SPEECH_RATE_HZ) -> Track:
    """(F,) loudness of speech at the frame times i/25, smoothed over 0.1 s, largest = 1."""
    power = np.convolve(audio.astype(np.float64) ** 2, np.ones(rate_hz // 10) * 10 / rate_hz, "same")
    at = np.minimum(np.arange(num) * rate_hz // FPS, len(audio) - 1)
    out: Track = np.sqrt(power[at] + 1e-9)
    return out / (out.max() + 1e-6)


def sample_motion(rng: np.random.Generator, num: int, audio: Float, max_turn_deg: float) -> Motion:
    """Draw the motion of one clip; the head nods with the voice.

    One clip in five looks far to a side and back, one in eight is seen from the side throughout.
    """
    t = np.arange(num) / FPS
    energy = np.convolve(np.pad(loudness(audio, num), 4, "edge"), np.ones(9) / 9, "valid")
    k = rng.uniform(0.5, 1.4)
    side = rng.choice([-1, 1]) * rng.uniform(20, 42) if rng.random() < 1 / 8 else 0.0
    yaw = side + rng.normal(0, 9) + k * (4.5 * wander(rng, num, 0.9) + 2 * wander(rng, num, 0.4))
    if rng.random() < 1 / 5:
        middle, width = rng.uniform(0, num / FPS), rng.uniform(0.5, 1.2)
        yaw = yaw + rng.choice([-1, 1]) * rng.uniform(15, 45) * np.exp(-(((t - middle) / width) ** 2))
    pitch = rng.normal(2, 3.5) + k * (2.2 * wander(rng, num, 0.7) + 3.0 * (energy - energy.mean()))
    roll = k * 2.2 * wander(rng, num, 1.1) + rng.normal(0, 3)
    sway = [
        0.5 * wander(rng, num, 1.2),
        0.25 * wander(rng, num, 0.9) + 0.15 * np.sin(2 * np.pi * t * 0.27),
        0.4 * wander(rng, num, 1.3),
    ]
    yaw, pitch, roll = (np.radians(np.clip(a, -max_turn_deg, max_turn_deg)) for a in (yaw, pitch, roll))
    return Motion(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        shift_cm=np.stack(sway, 1) * k,
        blink=_blinks(rng, t),
        gaze=_gaze(rng, t, yaw, pitch),
        brow=np.clip(0.22 * wander(rng, num, 0.6) + 0.35 * (energy - 0.5), -0.4, 0.8) * rng.uniform(0.3, 1),
    )


def _blinks(rng: np.random.Generator, t: Track) -> Track:
    out, at = np.zeros(len(t)), float(rng.uniform(0, 2.5))
    while at < t[-1] + 0.04:
        out = np.maximum(out, np.clip(1.25 - np.abs(t - at) / rng.uniform(0.085, 0.12), 0, 1))
        at += rng.exponential(2.6) + 0.4
    return out


def _gaze(rng: np.random.Generator, t: Track, yaw: Track, pitch: Track) -> NDArray[np.float64]:
    """Saccades around the camera; the eyes make up for most of the head's turn."""
    out, at, now = np.zeros((len(t), 2)), 0.0, np.zeros(2)
    while at < t[-1] + 0.04:
        until = at + rng.exponential(1.1) + 0.25
        out[(t >= at) & (t < until)] = now
        at, now = until, rng.normal(0, [0.16, 0.09])
    return out - np.clip(np.stack([yaw, pitch], 1), -0.5, 0.5) * 0.6 + [0, 0.05]


def upper_face(motion: Motion, rng: np.random.Generator, smile: dict[str, Track]) -> dict[str, Track]:
    """Shapes of eyes and brows (F,) from the motion; `smile` holds mouthSmile_L and _R, which lift the cheeks."""
    squint, lid = 0.2 * rng.random(), rng.uniform(0.05, 0.18)
    out: dict[str, Track] = {}
    down, side = motion.gaze[:, 1], motion.gaze[:, 0]
    for name, sign in (("L", 1), ("R", -1)):
        turn = side * sign * 2.2
        out[f"eyeBlink_{name}"] = np.clip(motion.blink + lid, 0, 1)
        out[f"eyeSquint_{name}"] = squint + 0.2 * smile[f"mouthSmile_{name}"]
        out[f"browOuterUp_{name}"] = np.maximum(motion.brow, 0) * 0.7
        out[f"browInnerUp_{name}"] = np.maximum(motion.brow, 0)
        out[f"browDown_{name}"] = np.maximum(-motion.brow, 0) * 0.8
        out[f"eyeLookOut_{name}"], out[f"eyeLookIn_{name}"] = np.clip(turn, 0, 1), np.clip(-turn, 0, 1)
        out[f"eyeLookUp_{name}"], out[f"eyeLookDown_{name}"] = np.clip(-down * 2.0, 0, 0.6), np.clip(down * 1.6, 0, 0.6)
    return out
