"""A torso with a collar, and the dark wall behind the throat."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from latentsync.synth.arrays import Real
from latentsync.synth.face.fields import smoothstep
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart, grid_triangles, surface_normals
from latentsync.synth.render import materials as mat

COLUMNS, ROWS = 96, 26


def _loft(who: Identity) -> Real:
    """(ROWS, COLUMNS, 3) torso surface: rings from the collar down, with sloping shoulders."""
    n, s = who.neckline_cm, who.shoulder_cm
    profile = np.array(
        [
            [n, 7.0, 6.6],
            [n - 0.5, 7.8, 7.4],
            [n - 1.2, 9.2, 8.2],
            [n - 2.6, 12.5, 8.9],
            [n - 4.2, s * 0.82, 9.4],
            [n - 6.4, s, 9.8],
            [n - 10, s + 2.2, 10.8],
            [n - 18, s + 3, 12],
            [n - 34, s + 2, 12],
        ]
    )
    at = np.linspace(0, len(profile) - 1, ROWS)
    rings = np.stack([np.interp(at, np.arange(len(profile)), profile[:, k]) for k in range(3)], 1)
    rings[1:-1] = (rings[:-2] + 2 * rings[1:-1] + rings[2:]) / 4
    angle = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    c, sn = np.cos(angle), np.sin(angle)
    rows = []
    for k, (y, rx, rz) in enumerate(rings):
        e = 0.85 if rx > 12 else 1.0
        x, z = np.sign(c) * np.abs(c) ** e * rx, np.sign(sn) * np.abs(sn) ** e * rz
        dip = 2.4 * max(0.0, 1 - k / 9.0) * (z / 7.5)
        rows.append(np.stack([x, y - 0.48 * np.abs(x / 10) ** 1.5 * (k > 3) - dip, z - 0.8], 1))
    return np.stack(rows)


def clothes(mesh: HeadMesh, neutral: Real, neck_weight: Real, who: Identity) -> MeshPart:
    """The torso, pushed outside the neck.

    Args:
        neck_weight: (V,) how far each mesh vertex follows the head; the collar takes it over where it touches the skin.
    """
    p = _loft(who).reshape(-1, 3)
    normals, tree = mesh.normals(neutral), cKDTree(neutral[: mesh.skin_verts])
    near = np.arange(len(p)) < COLUMNS * 14

    def push(gap: float) -> None:
        distance, nearest = tree.query(p[near])
        inside = ((p[near] - neutral[nearest]) * normals[nearest]).sum(1)
        p[near] += normals[nearest] * (np.clip(gap - inside, 0, 3) * (distance < 5))[:, None]

    for _ in range(3):
        push(0.32)
        g = p.reshape(ROWS, COLUMNS, 3)
        around = np.roll(g[1:-1], 1, 1) + np.roll(g[1:-1], -1, 1)
        g[1:-1] = 0.5 * g[1:-1] + 0.125 * (g[:-2] + g[2:] + around)
        p = g.reshape(-1, 3)
    push(0.30)
    tri = grid_triangles(ROWS, COLUMNS, closed=True)
    n = surface_normals(p, tri)
    if (n[: COLUMNS * 8, 2] * p[: COLUMNS * 8, 2]).sum() < 0:
        n = -n
    att = np.ones((len(p), 4), np.float32)
    att[:, 0] = np.clip(0.45 + 0.55 * np.repeat(np.arange(ROWS) / 7.0, COLUMNS), 0, 1)
    distance, nearest = tree.query(p)
    weight = neck_weight[nearest] * smoothstep(5, 1, distance)
    return MeshPart.build(p, n, tri, mat.CLOTH, att=att, casts=True, weight=weight)


def throat_wall() -> MeshPart:
    """A dark wall behind the throat: the mouth bag of the face model is open at the back."""
    p = np.array([[-3.4, -8.5, 1.6], [3.4, -8.5, 1.6], [3.4, 0.3, 1.6], [-3.4, 0.3, 1.6]])
    att = np.ones((4, 4), np.float32)
    att[:, 0] = 0.02
    return MeshPart.build(p, np.tile([0.0, 0, 1], (4, 1)), np.array([[0, 1, 2], [0, 2, 3]]), mat.SOCKET, att=att)
