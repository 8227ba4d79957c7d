"""Camera matrices. Right-handed world in cm, y up, the face looks along +z."""

from __future__ import annotations

import numpy as np

from latentsync.synth.arrays import Real


def perspective(fov_deg: float, near_cm: float = 20.0, far_cm: float = 400.0) -> Real:
    """4×4 projection of a square picture with the given full field of view."""
    t = 1 / np.tan(np.radians(fov_deg) / 2)
    depth = far_cm - near_cm
    return np.array(
        [[t, 0, 0, 0], [0, t, 0, 0], [0, 0, -(far_cm + near_cm) / depth, -2 * far_cm * near_cm / depth], [0, 0, -1, 0]],
        np.float32,
    )


def look_at(eye: Real, target: Real, up: tuple[float, float, float] = (0, 1, 0)) -> Real:
    """4×4 view matrix of a camera at `eye` that looks at `target`."""
    eye, target = np.asarray(eye, np.float64), np.asarray(target, np.float64)
    z = eye - target
    z /= np.linalg.norm(z)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[0, :3], out[1, :3], out[2, :3] = x, np.cross(z, x), z
    out[:3, 3] = -out[:3, :3] @ eye
    return out.astype(np.float32)


def light_view(direction: Real, centre: tuple[float, float, float] = (0, -2.5, 2), radius_cm: float = 17.0) -> Real:
    """4×4 parallel projection along a light that comes from `direction`, around the head."""
    d = np.asarray(direction, np.float64)
    d = d / np.linalg.norm(d)
    c = np.asarray(centre, np.float64)
    view = look_at(c + d * 60, c, (0, 1, 0) if abs(d[1]) < 0.95 else (0, 0, 1))
    ortho = np.diag([1 / radius_cm, 1 / radius_cm, -1 / 45.0, 1]).astype(np.float32)
    ortho[2, 3] = -60 / 45.0
    return ortho @ view


def rotation(yaw: float, pitch: float, roll: float) -> Real:
    """3×3 rotation, radians: yaw to the face's left, pitch down, roll towards its left shoulder, applied roll first."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    return (
        np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    ).astype(np.float32)


def to_pixels(points: Real, view_projection: Real, size_px: int) -> Real:
    """(N, 3) world points to (N, 2) float32 pixel coordinates (pixel centres at integers)."""
    q = np.c_[points, np.ones(len(points), np.float32)] @ view_projection.T
    x = (q[:, 0] / q[:, 3] * 0.5 + 0.5) * size_px - 0.5
    y = (0.5 - q[:, 1] / q[:, 3] * 0.5) * size_px - 0.5
    return np.stack([x, y], 1).astype(np.float32)
