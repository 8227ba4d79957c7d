"""Spectacle frames: two rims, a bridge, two temples. The lenses are clear."""

from __future__ import annotations

import numpy as np

from latentsync.synth.arrays import Real
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart, grid_triangles, surface_normals
from latentsync.synth.render import materials as mat

HALF_WIDTH_CM, HALF_HEIGHT_CM = 2.5, 2.0
AROUND, ACROSS = 40, 6


def _tube(line: Real, radius: float, *, closed: bool) -> tuple[Real, Real]:
    """Points (N · ACROSS, 3) and triangles of a tube around a line (N, 3) that runs mainly in one plane."""
    ahead = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    reference = np.array([0.0, 0.0, 1.0]) if np.abs(ahead[:, 2]).mean() < 0.7 else np.array([0.0, 1.0, 0.0])
    side = np.cross(ahead, reference)
    side = side / np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, ahead)
    angle = np.linspace(0, 2 * np.pi, ACROSS, endpoint=False)
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    points = (line[:, None] + radius * ring).reshape(-1, 3)
    rows = len(line) + 1 if closed else len(line)
    tri = grid_triangles(rows, ACROSS, closed=True) % len(points)
    return points, tri


def glasses(mesh: HeadMesh, neutral: Real, who: Identity) -> MeshPart:
    """The frame for a person, thickness `who.glasses` cm, `who.glasses_round` from round (2) to square (6)."""
    eyes = mesh.groups["eyes"]
    radius = who.glasses / 2
    lines: list[tuple[Real, bool]] = []
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    centres = []
    for sign in (1, -1):
        eye = neutral[eyes & (np.sign(mesh.base[:, 0]) == sign)]
        centre = np.array([eye[:, 0].mean(), eye[:, 1].mean() - 0.3, eye[:, 2].max() + 1.1])
        centres.append(centre)
        e = 2 / who.glasses_round
        x, y = np.sign(c) * np.abs(c) ** e * HALF_WIDTH_CM, np.sign(s) * np.abs(s) ** e * HALF_HEIGHT_CM
        lines.append((centre + np.stack([x, y, -0.05 * x * sign - 0.02 * x**2], 1), True))
        outer = centre + np.array([sign * HALF_WIDTH_CM, 0.7, -0.3])
        skin = neutral[: mesh.skin_verts]
        beside = skin[
            (np.sign(skin[:, 0]) == sign) & (np.abs(skin[:, 1] - centre[1]) < 1.0) & (np.abs(skin[:, 2] - 2) < 2)
        ]
        width = np.abs(beside[:, 0]).max() + 0.15
        hinge = np.array([sign * max(width, abs(outer[0])), outer[1], outer[2] - 1.0])
        ear = np.array([sign * width, outer[1] - 0.3, 0.0])
        k = np.linspace(0, 1, 12)[:, None]
        lines.append((np.concatenate([outer + (hinge - outer) * k[::3], hinge + (ear - hinge) * k[1:]]), False))
    right, left = centres
    k = np.linspace(0, 1, 9)[:, None]
    inner = np.array([HALF_WIDTH_CM, 0.3, -0.1])
    a, b = left + inner, right + inner * [-1, 1, 1]
    lines.append((a + (b - a) * k + np.sin(k * np.pi) * np.array([0, 0.3, 0.25]), False))
    points, tri, num = [], [], 0
    for line, closed in lines:
        p, t = _tube(line, radius, closed=closed)
        points.append(p)
        tri.append(t + num)
        num += len(p)
    all_points, all_tri = np.concatenate(points), np.concatenate(tri)
    return MeshPart.build(all_points, surface_normals(all_points, all_tri), all_tri, mat.RIGID, casts=True)
