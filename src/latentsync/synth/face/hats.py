"""Hats and scarves: lofts around the skull. Hair under them is pressed flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from latentsync.synth.arrays import Bools, Ints, Real
from latentsync.synth.face.fields import smoothstep
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart, grid_triangles, surface_normals
from latentsync.synth.render import materials as mat

CENTRE = np.array([0.0, 5.0, -0.3])
AROUND, DOWN = 96, 28
PRESSED_CM = 0.55
"""How high hair stands under a hat."""


@dataclass(frozen=True)
class Rim:
    """Edge of a hat, y = front + slope · (z − 10), cm: it sits lower at the back."""

    front: float
    slope: float

    def above(self, points: Real) -> Real:
        """(…) how far points lie above the edge, cm."""
        out: Real = points[..., 1] - self.front - self.slope * (points[..., 2] - 10)
        return out


def rim_of(who: Identity) -> Rim:
    """Where a person wears the hat; a scarf covers everything from the forehead back."""
    rng = np.random.default_rng([who.seed, 0x41])
    front = float(rng.uniform(8.2, 9.6))
    return Rim(front, (front - float(rng.uniform(0.5, 3.5))) / 18)


class Skull:
    """Distance of the skin from the middle of the head in every direction, without ears, smoothed."""

    def __init__(self, mesh: HeadMesh, neutral: Real) -> None:
        base = mesh.base[: mesh.skin_verts]
        ear = (np.abs(base[:, 0]) > 7.3) & (base[:, 1] < 6) & (np.abs(base[:, 2]) < 4)
        p = neutral[: mesh.skin_verts][~ear & (base[:, 1] > -8)] - CENTRE
        length = np.linalg.norm(p, axis=1)
        self.down = np.radians(np.linspace(0, 130, 53))
        azimuth = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        d, a = np.meshgrid(self.down, azimuth, indexing="ij")
        near = cKDTree(p / length[:, None]).query(_direction(d, a), k=6)[1]
        self._radius = gaussian_filter(length[near].mean(-1), (1.5, 2.0), mode=("nearest", "wrap"))

    def point(self, down: Real, azimuth: Real, offset: Real | float) -> Real:
        """(…, 3) points over the skin; `down` from the crown and `azimuth` from the front, radians; offset in cm."""
        row = down / (self.down[1] - self.down[0])
        column = azimuth / (2 * np.pi) * self._radius.shape[1]
        r = map_coordinates(self._radius, [row, column % self._radius.shape[1]], order=1, mode="grid-wrap")
        return CENTRE + _direction(down, azimuth) * (r + offset)[..., None]

    def rim_angle(self, rim: Rim, azimuth: Real) -> Real:
        """(…) angle from the crown at which the skin crosses the rim, by bisection."""
        low, high = np.zeros_like(azimuth), np.full_like(azimuth, self.down[-2])
        for _ in range(18):
            middle = (low + high) / 2
            above = rim.above(self.point(middle, azimuth, 0.0)) > 0
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return low


def _direction(down: Real, azimuth: Real) -> Real:
    return np.stack([np.sin(down) * np.sin(azimuth), np.cos(down), np.sin(down) * np.cos(azimuth)], -1)


def _part(points: Real, tri: Ints, colour: Real, *, rib: Real | None = None, inside: Real | None = None) -> MeshPart:
    normals = surface_normals(points, tri)
    if (normals * (points - CENTRE)).sum() < 0:
        tri, normals = tri[:, ::-1], -normals
    att = np.ones((len(points), 4), np.float32)
    att[:, 1:] = colour
    if inside is not None:
        att[:, 0] = inside
    uv = np.zeros((len(points), 2), np.float32)
    if rib is not None:
        uv[:, 0] = rib
    return MeshPart.build(points, normals, np.ascontiguousarray(tri), mat.FABRIC, uv=uv, att=att, casts=True)


def _dome(skull: Skull, rim: Rim, offset: Real) -> tuple[Real, Real]:
    """(DOWN, AROUND, 3) points from the crown to the rim, and the azimuth of the columns; offset (DOWN, AROUND)."""
    azimuth = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    t = np.linspace(0.0, 1.0, DOWN)[:, None]
    down = t * skull.rim_angle(rim, azimuth)[None]
    return skull.point(down, np.broadcast_to(azimuth, down.shape), offset), azimuth


def _beanie(skull: Skull, rim: Rim, who: Identity, rng: np.random.Generator) -> list[MeshPart]:
    t = np.linspace(0, 1, DOWN)[:, None] * np.ones(AROUND)
    fold = rng.uniform(0.62, 0.75) if rng.random() < 0.7 else 2.0
    slack = rng.uniform(0.0, 2.2) * smoothstep(0.6, 0.0, t)
    offset = 0.95 + slack + 0.32 * smoothstep(fold - 0.03, fold + 0.03, t) - 0.35 * smoothstep(0.96, 1.0, t)
    points, azimuth = _dome(skull, rim, offset)
    rib = np.broadcast_to(0.01 + azimuth / (2 * np.pi) * rng.integers(50, 90), t.shape)
    colour = np.where((t > fold)[..., None], mat.linear(who.hat2_rgb), mat.linear(who.hat_rgb))
    tri = grid_triangles(DOWN, AROUND, closed=True)
    return [_part(points.reshape(-1, 3), tri, colour.reshape(-1, 3), rib=rib.ravel())]


def _brim(edge: Real, width: Real, drop: Real, colour: Real) -> MeshPart:
    """A sheet from the edge (N, 3) of a hat outwards; width and drop (N,) cm."""
    out = edge - CENTRE
    out[:, 1] = 0
    out = out / np.linalg.norm(out, axis=1, keepdims=True)
    k = np.linspace(0, 1, 9)[:, None, None]
    top = edge + k * width[:, None] * out - (k**1.4) * drop[:, None] * np.array([0, 1.0, 0])
    below = top - np.array([0, 0.18, 0])
    rows = np.concatenate([top, below[::-1]])
    tri = grid_triangles(len(rows), len(edge))
    shade = np.concatenate([np.ones(9), np.full(9, 0.35)]).repeat(len(edge))
    return _part(rows.reshape(-1, 3), tri, np.broadcast_to(colour, (rows.shape[0] * rows.shape[1], 3)), inside=shade)


def _cap(skull: Skull, rim: Rim, who: Identity, rng: np.random.Generator) -> list[MeshPart]:
    t = np.linspace(0, 1, DOWN)[:, None] * np.ones(AROUND)
    azimuth = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    seam = np.exp(-((np.abs((azimuth / (np.pi / 3) + 0.5) % 1 - 0.5) / 0.05) ** 2))
    offset = 0.9 + 0.9 * smoothstep(0.75, 0.2, t) - 0.08 * seam
    points, _ = _dome(skull, rim, offset)
    colour = mat.linear(who.hat_rgb) * (1 - 0.25 * seam[None, :, None] * np.ones((DOWN, 1, 1)))
    tri = grid_triangles(DOWN, AROUND, closed=True)
    parts = [_part(points.reshape(-1, 3), tri, colour.reshape(-1, 3))]
    turn = np.pi if rng.random() < 0.15 else 0.0  # worn backwards
    angle = np.linspace(-1.15, 1.15, 41)
    edge = skull.point(skull.rim_angle(rim, angle + turn), angle + turn, 0.85)
    width = rng.uniform(6.0, 7.2) * np.sqrt(np.clip(1 - (angle / 1.2) ** 2, 0.02, 1))
    drop = rng.uniform(0.6, 1.6) + rng.uniform(0.5, 2.0) * (angle / 1.15) ** 2
    return [*parts, _brim(edge, width, drop, mat.linear(who.hat2_rgb))]


def _brimmed(skull: Skull, rim: Rim, who: Identity, rng: np.random.Generator) -> list[MeshPart]:
    t = np.linspace(0, 1, DOWN)[:, None] * np.ones(AROUND)
    azimuth = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    tall = rng.uniform(2.0, 4.5)
    offset = 0.9 + tall * smoothstep(0.75, 0.30, t)
    points, _ = _dome(skull, rim, offset)
    points[..., 1] -= 1.6 * np.exp(-((points[..., 0] / 1.8) ** 2)) * smoothstep(0.30, 0.1, t)  # crease
    band = ((t > 0.80) & (t < 0.97))[..., None]
    colour = np.where(band, mat.linear(who.hat2_rgb), mat.linear(who.hat_rgb))
    parts = [_part(points.reshape(-1, 3), grid_triangles(DOWN, AROUND, closed=True), colour.reshape(-1, 3))]
    angle = np.append(azimuth, 2 * np.pi)
    edge = skull.point(skull.rim_angle(rim, angle), angle, 0.85)
    drop = rng.uniform(0.0, 1.2) + rng.uniform(-1.2, 0.6) * np.sin(angle) ** 2
    return [*parts, _brim(edge, np.full(len(angle), rng.uniform(4.5, 7.0)), drop, mat.linear(who.hat_rgb))]


def _scarf(skull: Skull, neutral: Real, who: Identity, rng: np.random.Generator) -> list[MeshPart]:
    """Over hair, ears and neck: rings with an opening for the face, which closes under the chin."""
    rows, top = 60, float(neutral[:, 1].max())
    y = np.concatenate([top + 1.1 - 4.0 * np.linspace(0, 1, 12) ** 2, np.linspace(top - 3.4, -17.5, rows - 12)])
    k = np.linspace(0.0, 1.0, AROUND)
    forehead, wide = rng.uniform(8.6, 10.2), rng.uniform(0.80, 0.95)
    chin = float(neutral[:, 1][np.abs(neutral[:, 1] + 8) < 2].mean()) - 0.4
    middle, half = (forehead + chin) / 2, (forehead - chin) / 2
    opening = wide * np.sqrt(np.clip(1 - (np.abs(y - middle) / half) ** 2.4, 0, 1))
    half_width = np.interp(y, [-17.5, -12, -8, 0, 8, 12, top, top + 1.1], [13, 8.6, 8.2, 9.7, 9.2, 7.2, 3.4, 0.2])
    front = np.interp(
        y, [-17.5, -12, -8, -4, 6, 10, 12, top, top + 1.1], [10, 9.2, 10.2, 10.4, 11.6, 10.9, 9.0, 4.5, 0.2]
    )
    back = np.interp(y, [-17.5, -12, -6, 2, 8, 12, top, top + 1.1], [10, 9.0, 8.6, 10.4, 10.2, 8.2, 5.0, 0.2])
    angle = opening[:, None] + k * (2 * np.pi - 2 * opening[:, None])
    s, c = np.sin(angle), np.cos(angle)
    deep = np.where(c > 0, front[:, None], back[:, None])
    fold = 0.10 * np.sin(angle * 9 + y[:, None] * 1.1) + 0.25 * np.sin(angle * 4 + y[:, None] * 0.5) * (y < -8)[:, None]
    points = np.stack(
        [(half_width[:, None] + fold) * s, np.broadcast_to(y[:, None], s.shape), (deep + fold) * c - 0.3], -1
    )
    flat = points.reshape(-1, 3).copy()
    for _ in range(3):  # outside the skin everywhere
        tree = cKDTree(neutral)
        distance, nearest = tree.query(flat)
        away = flat - np.array([0, 0, -0.3])
        away[:, 1] = 0
        away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-9
        inside = ((flat - neutral[nearest]) * away).sum(1)
        flat += away * np.clip(0.35 - inside, 0, 1.5)[:, None] * (distance < 3)[:, None]
    colour = np.broadcast_to(mat.linear(who.hat_rgb), flat.shape) * (1 + 0.25 * fold.reshape(-1, 1))
    part = _part(flat, grid_triangles(rows, AROUND), np.clip(colour, 0, 1))
    part.weight = smoothstep(-16, -9, flat[:, 1]).astype(np.float32)
    return [part]


def hat_parts(mesh: HeadMesh, neutral: Real, who: Identity) -> list[MeshPart]:
    """What the person wears on the head, or nothing."""
    if who.hat == "none":
        return []
    rng, skull = np.random.default_rng([who.seed, 0x4A7]), Skull(mesh, neutral)
    if who.hat == "scarf":
        return _scarf(skull, neutral[: mesh.skin_verts], who, rng)
    make = {"beanie": _beanie, "cap": _cap, "brim": _brimmed}[who.hat]
    return make(skull, rim_of(who), who, rng)


def press_hair(parts: list[MeshPart], mesh: HeadMesh, neutral: Real, who: Identity) -> list[MeshPart]:
    """Hair parts with what lies under the hat pressed flat; a scarf lets only a beard be seen."""
    if who.hat == "none":
        return parts
    rim, tree = rim_of(who), cKDTree(neutral[: mesh.skin_verts])
    for part in parts:
        above = rim.above(part.points)
        low = np.where(above > -2.5)[0]
        distance, nearest = tree.query(part.points[low])
        limit = PRESSED_CM + 0.8 * np.clip(-above[low], 0, None)
        share = np.minimum(limit / np.maximum(distance, 1e-6), 1.0)[:, None]
        skin = neutral[nearest]
        part.points[low] = skin + (part.points[low] - skin) * share
    return [p for p in (_without(part, who, rim) for part in parts) if len(p.tri)]


def _without(part: MeshPart, who: Identity, rim: Rim) -> MeshPart:
    """Drop triangles that nobody can see: a hand's breadth above the rim, or all but the beard under a scarf."""
    hidden: Bools = np.all((rim.above(part.points) > 1.5)[part.tri], axis=1)
    if who.hat == "scarf":
        p = part.rest[part.tri].mean(1)
        hidden = hidden | (p[:, 1] > -0.5) | (p[:, 2] < 4.0) | (part.material == mat.RIBBON)
    part.tri, part.material, part.casts = part.tri[~hidden], part.material[~hidden], part.casts[~hidden]
    return part
