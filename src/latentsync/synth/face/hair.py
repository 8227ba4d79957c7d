"""Hair: shells for short hair and beards, grown ribbons for longer hair."""

from __future__ import annotations

import numpy as np

from latentsync.synth.arrays import Bools, Ints, Real
from latentsync.synth.face.fields import Noise, smoothstep
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.layers import beard_area
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart
from latentsync.synth.face.skin import inside_hairline
from latentsync.synth.render import materials as mat

SHELL_LENGTH = {
    "short": (0.9, 1.6),
    "crop": (0.35, 0.8),
    "side": (0.5, 0.8),
    "bald": (0.0, 0.0),
    "afro": (2.2, 5.0),
    "back": (0.4, 0.7),
    "long": (0.3, 0.5),
    "bob": (0.3, 0.5),
}
"""Shortest and longest shell hair of each style, cm."""
SHELL_LAYERS = {"afro": 12, "short": 7, "crop": 5}


def hair_parts(
    mesh: HeadMesh, neutral: Real, who: Identity, lip_verts: Ints, rng: np.random.Generator
) -> list[MeshPart]:
    """All hair of a person."""
    from latentsync.synth.face.strands import RIBBON_STYLES, grow_ribbons

    normals = mesh.normals(neutral)
    x, y, z = mesh.base.T
    skin = np.zeros(len(mesh.base), bool)
    skin[: mesh.skin_verts] = True
    above = inside_hairline(mesh.base, who.hairline)
    grows = skin & ((np.abs(x) < 7.7) | (y > 6.2) | (z < -2.5))
    density = np.where(grows, smoothstep(-0.25, 1.0, above), 0).astype(np.float32)
    short, long = SHELL_LENGTH[who.style]
    length = short + (long - short) * who.hair_length
    noise = Noise(rng, 24)
    out = []
    if length > 0:
        curl = 0.16 if who.style == "afro" else 0.03
        comb = _comb(mesh, normals, who.style)
        cells = 4.4 if who.style == "afro" else 5.5
        layers = SHELL_LAYERS.get(who.style, 4)
        out += shells(
            mesh, neutral, normals, density, length, layers, cells, comb, 0.55, noise, curl, casts=who.style == "afro"
        )
    if who.beard > 0:
        area = beard_area(mesh.base) * skin
        area[lip_verts] = 0
        down = np.tile(np.array([0, -1.0, 0.15], np.float32), (len(mesh.base), 1))
        long_ = 0.25 + 0.9 * who.beard
        out += shells(mesh, neutral, normals, area * 0.9, long_, 7, 10.0, down, 0.9, noise, 0.03, stretch=0.38)
    if who.style in RIBBON_STYLES:
        out.append(grow_ribbons(mesh, neutral, normals, density, who.style, rng))
    return out


def _comb(mesh: HeadMesh, normals: Real, style: str) -> Real:
    """(V, 3) direction hair leans to, along the skin."""
    comb = np.zeros_like(mesh.base)
    if style in ("short", "crop"):
        comb += np.array([0, -0.3, 0.8], np.float32)
    elif style == "side":
        comb[:, 0], comb[:, 1] = np.sign(mesh.base[:, 0] - 2) * 0.9, -0.4
    elif style == "back":
        comb += np.array([0, 0, -1.2], np.float32)
    return comb - normals * (comb * normals).sum(1, keepdims=True)


def shells(
    mesh: HeadMesh,
    neutral: Real,
    normals: Real,
    density: Real,
    length: float,
    layers: int,
    cells: float,
    comb: Real,
    droop: float,
    noise: Noise,
    curl: float,
    *,
    stretch: float = 1.0,
    casts: bool = False,
) -> list[MeshPart]:
    """Copies of the skin at growing heights, cut into tufts by the renderer.

    Args:
        density: (V,) in [0, 1]. length: cm. cells: tufts per cm. comb: (V, 3) lean at the tip, times `droop`.
        curl: cm the layers are shifted against each other. stretch: under 1 makes tufts longer along y.
    """
    density = density * (np.linalg.norm(normals, axis=1) > 0.5)
    chosen = (density[mesh.tri] > 0.02).any(1) & (mesh.tri < mesh.skin_verts).all(1)
    chosen &= np.isin(mesh.material, (mat.SKIN, mat.SCALP))
    if not chosen.any():
        return []
    verts, inverse = np.unique(mesh.tri[chosen].ravel(), return_inverse=True)
    tri = inverse.reshape(-1, 3).astype(np.int32)
    lump = 1 + 0.22 * noise.octaves(mesh.base[verts], 0.45, 2)
    dense = density[verts]
    out = []
    for layer in reversed(range(layers)):  # outer first: it hides the inner ones
        level = (layer + 1) / layers
        rise = normals[verts] * (length * level * lump * np.clip(dense, 0.25, 1))[:, None]
        lean = comb[verts] * (length * level * level * droop)
        shift = curl * np.array([np.sin(layer * 1.7), np.cos(layer * 2.3), np.sin(layer * 2.9 + 1)])
        att = np.stack(
            [np.full(len(verts), 0.45 + 0.55 * level), dense, np.full(len(verts), level), np.full(len(verts), cells)], 1
        )
        # tufts are looked up where the hair grows from, pushed along the lean, so that they slant as hair does
        rest = mesh.base[verts] + shift - lean * (0.7 if stretch < 1 else 0.0)
        out.append(
            MeshPart.build(
                neutral[verts] + rise + lean,
                normals[verts],
                tri,
                mat.SHELL,
                uv=np.full((len(verts), 2), stretch),
                rest=rest,
                att=att,
                casts=casts and layer == layers // 2,
                skin_verts=verts.astype(np.int32),
            )
        )
    return out


def lips_of(mesh: HeadMesh, lip_map: Real, uv: Real, vertex: Ints) -> Ints:
    """Mesh vertices on or next to the lips, from the (n, n) lip map and the render vertices' uv."""
    import cv2

    size = lip_map.shape[0]
    wide = cv2.dilate(lip_map, np.ones((9, 9), np.uint8))
    q = np.clip((uv * size).astype(int), 0, size - 1)
    face: Bools = vertex < mesh.face_verts
    return np.unique(vertex[face & (wide[q[:, 1], q[:, 0]] > 0.1)])
