"""How a head and a tongue are held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.core.values import Float
from latentsync.synth.render.camera import rotation

NECK = np.array([0, -9.0, 0.5], np.float32)
"""Point the head turns around, cm."""


@dataclass(frozen=True)
class Pose:
    """Head pose: angles in radians (see `render.camera.rotation`) and shift in cm. The torso follows a quarter."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Tongue:
    """Tip raised, body pushed forward, body raised; cm."""

    up: float = 0.0
    forward: float = 0.0
    back: float = 0.0


STRAIGHT = Pose()
FLAT = Tongue()


def moves_of(pose: Pose) -> Float:
    """(2, 3, 4) rigid moves of torso and head: rotation around the neck, and shift."""
    moves = np.zeros((2, 3, 4), np.float32)
    shares = ((pose.yaw * 0.25, pose.pitch * 0.1, pose.roll * 0.15, 0.5), (pose.yaw, pose.pitch, pose.roll, 1.0))
    for k, (yaw, pitch, roll, shift) in enumerate(shares):
        r = rotation(yaw, pitch, roll)
        moves[k, :, :3] = r
        moves[k, :, 3] = NECK - r @ NECK + np.array(pose.shift, np.float32) * shift
    return moves


def carry(head: Float, held: Float) -> Float:
    """(3, 4) move of something held at (3, 4) `held` in the head's axes; a NaN move takes it far out of sight."""
    if np.isnan(held).any():
        return np.array([[1, 0, 0, 0], [0, 1, 0, -500], [0, 0, 1, 0]], np.float32)
    return np.concatenate(
        [head[:, :3] @ held[:, :3], (head[:, :3] @ held[:, 3] + head[:, 3])[:, None]], 1, dtype=np.float32
    )
