"""A part of a head that the renderer draws: its vertices, triangles and how it follows head and torso."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synth.arrays import Bools, Ints, Real


@dataclass(eq=False)
class MeshPart:
    """Geometry that moves as a whole.

    Attributes:
        points, normals: (V, 3) float32, cm, in the neutral pose.
        tri: (T, 3) int32. material: (T,) int32. casts: (T,) bool, whether it throws shadows.
        uv: (V, 2). For shells, uv[:, 0] is the stretch of the tufts along y.
        rest: (V, 3) where textures in space are looked up.
        att: (V, 4): ambient visibility; opacity or density; level or ribbon number; tuft cells per cm.
        weight: (V,) 1 = follows the head, 0 = the torso.
        skin_verts: (V,) mesh vertices whose displacement moves this part too (hair shells), or None.
        carrier: number of the rigid move, given with the pose, that moves this part instead; or None.
    """

    points: Real
    normals: Real
    tri: Ints
    material: Ints
    uv: Real
    rest: Real
    att: Real
    casts: Bools
    weight: Real
    skin_verts: Ints | None = None
    carrier: int | None = None

    @staticmethod
    def build(
        points: Real,
        normals: Real,
        tri: Ints,
        material: int,
        *,
        uv: Real | None = None,
        rest: Real | None = None,
        att: Real | None = None,
        casts: Bools | bool = False,
        weight: Real | float = 1.0,
        skin_verts: Ints | None = None,
        carrier: int | None = None,
    ) -> MeshPart:
        """A part of one material, with plain defaults."""
        num, f4 = len(points), np.float32
        return MeshPart(
            points=np.ascontiguousarray(points, f4),
            normals=np.ascontiguousarray(normals, f4),
            tri=np.asarray(tri, np.int32),
            material=np.full(len(tri), material, np.int32),
            uv=np.zeros((num, 2), f4) if uv is None else np.asarray(uv, f4),
            rest=np.asarray(points if rest is None else rest, f4),
            att=np.ones((num, 4), f4) if att is None else np.asarray(att, f4),
            casts=np.broadcast_to(casts, len(tri)).copy(),
            weight=np.broadcast_to(np.asarray(weight, f4), num).copy(),
            skin_verts=skin_verts,
            carrier=carrier,
        )


def grid_triangles(rows: int, columns: int, *, closed: bool = False) -> Ints:
    """Triangles of a rows × columns grid of vertices, row-major; `closed` joins the last column to the first."""
    across = columns if closed else columns - 1
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(across), indexing="ij")
    a, b = (i * columns + j).ravel(), (i * columns + (j + 1) % columns).ravel()
    up, down = np.stack([a, b, a + columns], 1), np.stack([b, b + columns, a + columns], 1)
    return np.concatenate([up, down]).astype(np.int32)


def surface_normals(points: Real, tri: Ints) -> Real:
    """(V, 3) area-weighted unit normals."""
    corner = points[tri]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    out = np.zeros_like(points)
    for k in range(3):
        np.add.at(out, tri[:, k], area)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
