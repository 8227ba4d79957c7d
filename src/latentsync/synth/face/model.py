"""The morphable head: mesh, identity modes, expression shapes. Centimetres, y up, the face looks along +z."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.core.errors import WeightsError
from latentsync.synth.arrays import Bools, Ints, Real
from latentsync.synth.render import materials as mat
from latentsync.synth.render.geometry import add_shape

ICT_RANGES = {
    "face": (0, 9409),
    "head": (9409, 11248),
    "socket": (11248, 13294),
    "eye_socket": (13294, 14062),
    "gums": (14062, 17039),
    "teeth": (17039, 21451),
    "eyes": (21451, 24591),
    "films": (24591, 25047),
    "occlusion": (25047, 25351),
    "lashes": (25351, 26719),
}
"""Vertex ranges of ICT-FaceKit's topology (geometry table of its README)."""


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """A head that can be another person and make faces.

    Attributes:
        base: (V, 3) float32 neutral mean head.
        tri, tri_uv: (T, 3) int32 vertex and texture-coordinate numbers of each triangle.
        uv: (N, 2) float32. u in [0, 1] is the face, [1, 2] the back of the head.
        material: (T,) int32, see `render.materials`.
        skin_verts: number of vertices, from 0, that are outer skin (face, then back of the head).
        face_verts: number of vertices, from 0, that are the face itself.
        groups: name → (V,) bool: "teeth", "eyes", "lashes", "occlusion", "tongue".
        landmarks: (68,) int32 vertices in the Multi-PIE order.
        shapes: name → (vertex numbers, (n, 3) float32 offsets), ARKit names with _L and _R.
        identity_modes: (M, V, 3) int16; times identity_scale (M,) float32 they are offsets at one standard deviation.
    """

    base: Real
    tri: Ints
    tri_uv: Ints
    uv: Real
    material: Ints
    skin_verts: int
    face_verts: int
    groups: Mapping[str, Bools]
    landmarks: Ints
    shapes: Mapping[str, tuple[Ints, Real]]
    identity_modes: NDArray[np.int16]
    identity_scale: Real

    def person(self, weights: Real) -> Real:
        """(V, 3) neutral head of the person with the given mode weights (unit variance, at most M of them)."""
        out = self.base.copy()
        for k in np.nonzero(weights)[0]:
            out += self.identity_modes[k].astype(np.float32) * np.float32(self.identity_scale[k] * weights[k])
        return out

    def express(self, neutral: Real, weights: Mapping[str, float]) -> Real:
        """(V, 3) `neutral` with expression shapes added; a name that the mesh does not have is an error."""
        out = neutral.copy()
        for name, weight in weights.items():
            if abs(weight) > 1e-4:
                index, delta = self.shapes[name]
                add_shape(out, index, delta, weight)
        return out

    def shapes_at(self, verts: Ints) -> dict[str, Real]:
        """Offsets (n, 3) of some vertices under each shape."""
        out = {}
        for name, (index, delta) in self.shapes.items():
            dense = np.zeros_like(self.base)
            dense[index] = delta
            out[name] = dense[verts]
        return out

    def normals(self, points: Real) -> Real:
        """(V, 3) unit normals of the mesh at `points`; zero where no triangle is."""
        out = np.zeros_like(points)
        corner = points[self.tri]
        area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        for k in range(3):
            np.add.at(out, self.tri[:, k], area)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    def render_vertices(self) -> tuple[Ints, Real, Ints]:
        """Vertices split along texture seams: their mesh vertex (R,), their uv (R, 2), and triangles (T, 3) of them."""
        key = self.tri.astype(np.int64) * (len(self.uv) + 1) + self.tri_uv
        unique, inverse = np.unique(key.ravel(), return_inverse=True)
        vertex, coordinate = unique // (len(self.uv) + 1), unique % (len(self.uv) + 1)
        return vertex.astype(np.int32), self.uv[coordinate], inverse.reshape(-1, 3).astype(np.int32)


def components(edges: Ints, num: int) -> Ints:
    """Connected component of each of `num` nodes of a triangle list."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, cols = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 2]]
    graph = coo_matrix((np.ones(len(rows)), (rows, cols)), shape=(num, num))
    label: Ints = connected_components(graph, directed=False)[1]
    return label


def _ict_tongue(base: Real, tri: Ints, tri_uv: Ints, num_uv: int) -> Bools:
    """Tongue vertices: the uv islands of the gum mesh that lie in the mouth's middle and reach to the front teeth."""
    label = components(tri_uv, num_uv)
    out = np.zeros(len(base), bool)
    for c in np.unique(label[tri_uv.ravel()]):
        verts = tri[label[tri_uv[:, 0]] == c].ravel()
        p = base[verts]
        if np.abs(p[:, 0]).max() < 2.1 and 3 < p[:, 2].min() < 4.5 and p[:, 2].max() > 9.3:
            out[verts] = True
    return out


def _ict_materials(names: list[str], tri: Ints, tri_material: Ints, tongue: Bools) -> Ints:
    plain = {
        "M_Face": mat.SKIN,
        "M_BackHead": mat.SCALP,
        "M_Teeth": mat.TEETH,
        "M_GumsTongue": mat.GUM,
        "M_IrisLeft": mat.IRIS,
        "M_IrisRight": mat.IRIS,
        "M_ScleraLeft": mat.CORNEA,
        "M_ScleraRight": mat.CORNEA,
        "M_EyeOcclusion": mat.OCCLUSION,
        "M_EyeLashes": mat.LASH,
    }
    table = np.array([plain.get(n, -1) for n in names], np.int32)
    out = table[tri_material]
    inside = ((tri >= ICT_RANGES["socket"][0]) & (tri < ICT_RANGES["eye_socket"][1])).any(1)
    out[(out == mat.SCALP) & inside] = mat.SOCKET
    out[(out == mat.GUM) & tongue[tri].all(1)] = mat.TONGUE
    return out


def load_face_model(path: Path) -> HeadMesh:
    """Read a packed ICT-FaceKit Light model (see `face.pack`).

    Raises: WeightsError: the file is missing or is not such a model.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such face model. `latentsync models fetch face-model` gets it and says where it is; or leave "
            "out --face-model for the built-in head."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {k: file[k] for k in file.files}
        base, tri, tri_uv, tri_material = data["base"], data["tri"], data["tri_uv"], data["tri_mat"]
        names = [str(n) for n in data["mat_names"]]
        if "tri_visible" in data:  # triangles that can be seen from the front while talking
            keep = data["tri_visible"]
            tri, tri_uv, tri_material = tri[keep], tri_uv[keep], tri_material[keep]
        gum = tri_material == names.index("M_GumsTongue")
        tongue = _ict_tongue(base, tri[gum], tri_uv[gum], len(data["uv"]))
        material = _ict_materials(names, tri, tri_material, tongue)
        shapes, off = {}, data["ex_off"]
        for k, name in enumerate(data["ex_names"]):
            rows = slice(int(off[k]), int(off[k + 1]))
            shapes[str(name)] = (data["ex_idx"][rows], data["ex_q"][rows].astype(np.float32) * data["ex_s"][k])
        modes, scale, landmarks = data["id_q"], data["id_s"], data["lmk68"].astype(np.int32)
    except (KeyError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: not a packed face model ({error}). docs/synth.md says how to make one.") from None
    groups = {name: _range_mask(len(base), name) for name in ("teeth", "eyes", "lashes", "occlusion")}
    drawn = material >= 0
    return HeadMesh(
        base=base,
        tri=np.ascontiguousarray(tri[drawn], np.int32),
        tri_uv=tri_uv[drawn].astype(np.int32),
        uv=data["uv"],
        material=material[drawn],
        skin_verts=ICT_RANGES["head"][1],
        face_verts=ICT_RANGES["face"][1],
        groups={**groups, "tongue": tongue},
        landmarks=landmarks,
        shapes=shapes,
        identity_modes=modes,
        identity_scale=scale,
    )


def _range_mask(num: int, name: str) -> Bools:
    out = np.zeros(num, bool)
    out[slice(*ICT_RANGES[name])] = True
    return out
