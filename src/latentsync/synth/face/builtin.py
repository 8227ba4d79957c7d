"""A small head made by formulas, for tests and for use without a face model. Same axes and places as the big model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synth.arrays import Bools, Ints, Real
from latentsync.synth.face.fields import smoothstep
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import grid_triangles
from latentsync.synth.render import materials as mat

MOUTH_Y, MOUTH_HALF = -3.4, 2.4
EYE_X, EYE_Y, EYE_RADIUS = 3.1, 3.4, 1.25
FACE_EDGE_RAD = np.radians(100)
COLUMNS, BACK_COLUMNS = 61, 33

_Y = np.array([-17, -12, -9.5, -7.6, -5, -2, 0, 3, 6, 9, 12, 14, 14.8])
_FRONT = np.array([3.6, 4.8, 6.5, 9.8, 10.6, 10.8, 10.7, 10.3, 10.4, 9.9, 7.8, 4.6, 0.5])
_HALF = np.array([9.0, 6.3, 5.9, 6.1, 6.8, 7.5, 7.8, 8.0, 7.9, 7.3, 5.6, 3.3, 0.3])
_BACK = np.array([7.0, 6.2, 6.0, 6.2, 6.5, 7.4, 8.0, 8.7, 9.0, 8.4, 6.2, 3.4, 0.3])
"""Own outline of a head, cm: height, depth of the front, half width, depth of the back."""


def _bell(x: Real, width: float) -> Real:
    return np.exp(-((x / width) ** 2))


def _eye(p: Real, sign: float) -> tuple[Real, Real]:
    return p[:, 0] - sign * EYE_X, p[:, 1] - EYE_Y


def _surface(angle: Real, y: Real) -> Real:
    """(N, 3) points of the skin at an angle around the vertical axis (0 = front) and a height."""
    s, c = np.sin(angle), np.cos(angle)
    x = np.interp(y, _Y, _HALF) * np.sign(s) * np.abs(s) ** 0.9
    z = np.where(c > 0, np.interp(y, _Y, _FRONT), np.interp(y, _Y, _BACK)) * np.sign(c) * np.abs(c) ** 0.8
    p = np.stack([x, y, z], 1)
    front = smoothstep(2.0, 6.0, z)
    nose = 2.5 * _bell(x, 0.75 + 0.45 * smoothstep(2.0, -0.5, y)) * smoothstep(4.6, 0.6, y) * smoothstep(-1.5, -0.4, y)
    lips = 0.55 * _bell(x, 1.9) * (_bell(y + 2.9, 0.45) + _bell(y + 4.0, 0.55))
    chin = 0.7 * _bell(x, 1.8) * _bell(y + 6.9, 1.2) - 0.35 * _bell(x, 1.6) * _bell(y + 5.2, 0.5)
    brow = 0.45 * _bell(np.abs(x) - 2.8, 2.2) * _bell(y - 5.6, 0.8)
    cheek = 0.45 * _bell(np.abs(x) - 4.6, 1.7) * _bell(y - 0.6, 1.8)
    socket = np.zeros_like(x)
    for sign in (-1, 1):
        dx, dy = _eye(p, sign)
        socket += -0.75 * _bell(dx, 1.9) * _bell(dy, 1.1) + 0.45 * _bell(np.abs(dy) - 0.85, 0.35) * _bell(dx, 1.4)
    p[:, 2] += front * (nose + lips + chin + brow + cheek + socket)
    return p


@dataclass(eq=False)
class _Pieces:
    """Vertices and triangles gathered piece by piece; `jaw` is how far each vertex follows the jaw."""

    points: list[Real]
    uv: list[Real]
    jaw: list[Real]
    tri: list[Ints]
    material: list[Ints]
    num: int = 0

    def add(self, points: Real, tri: Ints, material: int, *, uv: Real | None = None, jaw: Real | float = 0.0) -> slice:
        rows = slice(self.num, self.num + len(points))
        self.points.append(points)
        self.uv.append(np.zeros((len(points), 2)) if uv is None else uv)
        self.jaw.append(np.broadcast_to(np.asarray(jaw, float), len(points)))
        self.tri.append(tri + self.num)
        self.material.append(np.full(len(tri), material))
        self.num += len(points)
        return rows


def _rows() -> Real:
    """Heights of the grid rows; the mouth line is there twice."""
    below = np.r_[np.linspace(-17, -9.6, 7), np.linspace(-9.0, -5.6, 9), np.linspace(-5.3, MOUTH_Y, 9)]
    above = np.r_[np.linspace(MOUTH_Y, -1.9, 7), np.linspace(-1.6, 1.8, 11), np.linspace(2.05, 4.75, 13)]
    return np.r_[below, above, np.linspace(5.1, 9.5, 11), np.linspace(10, 14.8, 9)]


def _skin(pieces: _Pieces) -> tuple[Bools, Bools]:
    """Face and back of the head. Returns masks of the lower and upper lip edge among the face vertices."""
    y = _rows()
    seam = int(np.where(np.diff(y) == 0)[0][0])
    t = np.linspace(-1, 1, COLUMNS)
    angle = np.sign(t) * np.abs(t) ** 1.35 * FACE_EDGE_RAD
    a, h = (g.ravel() for g in np.meshgrid(angle, y))
    points, row = _surface(a, h), np.repeat(np.arange(len(y)), COLUMNS)
    tri = grid_triangles(len(y), COLUMNS)
    tri = tri[~((row[tri].min(1) == seam) & (row[tri].max(1) == seam + 1))]
    inside = smoothstep(MOUTH_HALF, MOUTH_HALF * 0.75, np.abs(points[:, 0]))
    around = smoothstep(-2.0, -6.0, h)  # beside the mouth the cheek shares the jaw's drop smoothly
    jaw = np.where(row <= seam, around + (1 - around) * inside, around * (1 - inside))
    jaw = jaw * smoothstep(-11.5, -7.5, h) * smoothstep(8.4, 4.5, np.abs(points[:, 0])) * (points[:, 2] > 0)
    uv = np.stack([(a / FACE_EDGE_RAD + 1) / 2, (h + 17) / 32], 1)
    pieces.add(points, tri, mat.SKIN, uv=uv, jaw=jaw)
    back = np.linspace(FACE_EDGE_RAD, 2 * np.pi - FACE_EDGE_RAD, BACK_COLUMNS)
    b, g = (q.ravel() for q in np.meshgrid(back, y))
    uv = np.stack([1 + (b - back[0]) / (back[-1] - back[0]), (g + 17) / 32], 1)
    pieces.add(_surface(b, g), grid_triangles(len(y), BACK_COLUMNS), mat.SCALP, uv=uv)
    return row == seam, row == seam + 1


def _mouth(pieces: _Pieces, face: Real, lower: Bools, upper: Bools) -> slice:
    """Bag behind the lips, teeth, gums and tongue. Returns the rows of the tongue."""
    chosen = np.abs(face[upper][:, 0]) < MOUTH_HALF + 0.3
    top, bottom = face[upper][chosen], face[lower][chosen]
    width = smoothstep(MOUTH_HALF, MOUTH_HALF * 0.5, np.abs(top[:, 0]))[:, None]
    k = np.linspace(0, 1, 6)[:, None, None]
    back = np.array([0, 0, -5.5])
    roof, floor = (e + k * back + k**0.25 * width * np.array([0, dy, 0]) for e, dy in ((top, 1.5), (bottom, -1.8)))
    n = top.shape[0]
    follow = np.repeat(1 - 0.6 * k.ravel(), n) * np.tile(
        smoothstep(MOUTH_HALF, MOUTH_HALF * 0.75, np.abs(top[:, 0])), 6
    )
    pieces.add(roof.reshape(-1, 3), grid_triangles(6, n), mat.SOCKET)
    pieces.add(floor.reshape(-1, 3), grid_triangles(6, n), mat.SOCKET, jaw=follow)
    wall = np.concatenate([floor[-1], roof[-1]]) - [0, 0, 0.01]
    pieces.add(wall, grid_triangles(2, n), mat.SOCKET, jaw=np.r_[follow[-n:], np.zeros(n)])
    x = np.linspace(-2.2, 2.2, 45)
    arch = 10.35 - 0.22 * x**2 - 0.10 * np.abs(np.cos(np.pi * x / 0.8)) ** 6
    for low, high, material, jaw in (
        (-3.85, -2.4, mat.TEETH, 0),
        (-2.45, -1.6, mat.GUM, 0),
        (-4.5, -3.85, mat.TEETH, 1),
        (-5.0, -4.45, mat.GUM, 1),
    ):
        strip = np.concatenate(
            [np.stack([x, np.full_like(x, y), arch - 0.15 * (material == mat.GUM)], 1) for y in (low, high)]
        )
        pieces.add(strip, grid_triangles(2, len(x)), material, jaw=jaw)
    u, v = (
        g.ravel() for g in np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, 13), np.linspace(-np.pi / 2, np.pi / 2, 9))
    )
    tongue = np.stack([1.5 * np.sin(u) * np.cos(v), -4.9 + 0.7 * np.sin(v), 7.2 + 2.6 * np.cos(u) * np.cos(v)], 1)
    return pieces.add(tongue, grid_triangles(9, 13), mat.TONGUE, jaw=1)


def _eyes(pieces: _Pieces) -> dict[int, slice]:
    """Front halves of the eyeballs, keyed by side."""
    out = {}
    for sign in (-1, 1):
        u, v = (g.ravel() for g in np.meshgrid(np.linspace(-1.4, 1.4, 17), np.linspace(-1.4, 1.4, 17)))
        d = np.stack([np.sin(u) * np.cos(v), np.sin(v), np.cos(u) * np.cos(v)], 1) * EYE_RADIUS
        skin = _surface(np.array([np.arcsin(0.36) * sign]), np.array([EYE_Y]))[0, 2]
        centre = np.array([sign * EYE_X, EYE_Y, skin - EYE_RADIUS + 0.30])
        out[sign] = pieces.add(centre + d, grid_triangles(17, 17), mat.IRIS, uv=0.5 + d[:, :2] / 2.07)
    return out


def _sides(name: str, move: Real, weight_of_x: Real) -> dict[str, Real]:
    """The left (x > 0) and right part of a move, blended over the middle."""
    left = smoothstep(-0.6, 0.6, weight_of_x)[:, None]
    return {f"{name}_L": move * left, f"{name}_R": move * (1 - left)}


def _shapes(p: Real, jaw: Real, low_lip: Real, up_lip: Real, eyes: dict[int, slice], num_skin: int) -> dict[str, Real]:
    """Dense offsets (V, 3) of every shape that speech and idle motion use."""
    x, y, zero = p[:, 0], p[:, 1], np.zeros_like(p)
    skin = (np.arange(len(p)) < num_skin) & (p[:, 2] > 2)

    def move(weight: Real, dx: Real | float, dy: Real | float, dz: Real | float) -> Real:
        w = np.where(skin, weight, 0)
        return np.stack([w * dx, w * dy, w * dz], 1)

    lips = low_lip + up_lip
    out = {"jawOpen": jaw[:, None] * np.array([0, -3.5, -1.6])}
    out["mouthClose"] = -out["jawOpen"] * np.where(skin, _bell(y - MOUTH_Y, 2.2) * low_lip.clip(0, 1), 0)[:, None]
    out["mouthRollLower"] = move(low_lip, 0, 0.25, -0.35)
    out["mouthRollUpper"] = move(up_lip, 0, -0.2, -0.3)
    out["mouthShrugLower"] = move(low_lip, 0, 0.35, 0.15)
    round_ = _bell(x, 3.0) * _bell(y - MOUTH_Y, 1.6)
    out["mouthPucker"] = move(round_, -0.35 * x, 0, 0.9)
    out["mouthFunnel"] = move(round_, -0.15 * x, 0, 0.7) + move(up_lip, 0, 0.5, 0) + move(low_lip, 0, -0.7, 0)
    corner = _bell(np.abs(x) - MOUTH_HALF, 1.4) * _bell(y - MOUTH_Y, 1.5)
    sign = np.sign(x)
    for name, part in (
        ("mouthStretch", move(corner, 0.7 * sign, -0.1, -0.2)),
        ("mouthSmile", move(corner, 0.6 * sign, 0.8, -0.4)),
        ("mouthFrown", move(corner, 0.1 * sign, -0.7, 0)),
        ("mouthPress", move(lips * 0.5, 0, 0, -0.12)),
        ("mouthUpperUp", move(up_lip, 0, 0.7, 0)),
        ("mouthLowerDown", move(low_lip, 0, -0.8, 0)),
        ("browInnerUp", move(_bell(np.abs(x) - 1.8, 1.6) * _bell(y - 6, 1.2), 0, 0.7, 0)),
        ("browOuterUp", move(_bell(np.abs(x) - 4.4, 1.6) * _bell(y - 5.8, 1.2), 0, 0.7, 0)),
        ("browDown", move(_bell(np.abs(x) - 2.6, 2.0) * _bell(y - 6, 1.2), 0, -0.6, 0.1)),
        ("eyeBlink", move(_bell(np.abs(x) - EYE_X, 1.5) * _bell(y - EYE_Y, 0.75), 0, 0, 0.75)),
        ("eyeSquint", move(_bell(np.abs(x) - EYE_X, 1.6) * _bell(y - EYE_Y + 0.9, 0.5), 0, 0.2, 0.15)),
    ):
        out.update(_sides(name, part, x))
    for side, sign_ in (("L", 1), ("R", -1)):
        rows = eyes[sign_]
        d = p[rows] - p[rows].mean(0) * [1, 1, 0] - [0, 0, p[rows][:, 2].max() - EYE_RADIUS]
        for name, (ax, ay) in {"Out": (sign_, 0), "In": (-sign_, 0), "Up": (0, 1), "Down": (0, -1)}.items():
            turn = zero.copy()
            turn[rows] = 0.35 * np.stack([ax * d[:, 2], ay * d[:, 2], -(ax * d[:, 0] + ay * d[:, 1])], 1)
            out[f"eyeLook{name}_{side}"] = turn
    return out


def _identity_modes(p: Real) -> Real:
    """(M, V, 3) offsets: width, length, jaw, nose, lips, cheeks, brow, eyes apart, depth, asymmetry."""
    x, y, z = p.T
    o = np.zeros_like(x)
    front = smoothstep(3, 7, z)
    return np.stack(
        [
            np.stack([0.05 * x, o, o], 1),
            np.stack([o, 0.04 * (y - EYE_Y), o], 1),
            np.stack([0.10 * x * smoothstep(-2, -7, y), -0.3 * smoothstep(-4, -8, y), o], 1),
            np.stack([o, o, 0.45 * front * _bell(x, 1.1) * _bell(y - 0.4, 1.6)], 1),
            np.stack(
                [
                    0.08 * x * _bell(y - MOUTH_Y, 1.5) * _bell(x, 4),
                    o,
                    0.15 * front * _bell(x, 2) * _bell(y - MOUTH_Y, 1.2),
                ],
                1,
            ),
            np.stack([o, o, 0.3 * front * _bell(np.abs(x) - 4.6, 1.8) * _bell(y, 2.5)], 1),
            np.stack([o, o, 0.25 * front * _bell(y - 5.6, 1.0)], 1),
            np.stack([0.02 * x * _bell(y - EYE_Y, 3), o, o], 1),
            np.stack([o, o, 0.03 * z], 1),
            np.stack([0.02 * (y - EYE_Y) * front, o, o], 1),
        ]
    )


def _landmarks(face: Real, lower: Bools, upper: Bools) -> Ints:
    """68 face vertices nearest to where the Multi-PIE points belong; the inner lips are on the lip edges."""
    t = np.linspace(-1, 1, 17)
    want = [(7.4 * np.sin(a * np.pi / 2) * (1 - 0.1 * np.abs(a)), 3.7 - 11.3 * np.cos(a * np.pi / 2) ** 1.1) for a in t]
    brow = [(5.8, 5.2), (4.9, 6.0), (3.8, 6.3), (2.5, 6.2), (1.2, 5.9)]
    want += [(-x, y) for x, y in brow] + [(x, y) for x, y in brow[::-1]]
    want += [(0, 3.7), (0, 2.6), (0, 1.5), (0, 0.4), (-1.3, -1.1), (-0.6, -1.2), (0, -1.2), (0.6, -1.2), (1.3, -1.1)]
    eye = [(4.3, 3.4), (3.7, 3.85), (2.6, 3.85), (1.9, 3.3), (2.6, 3.0), (3.7, 3.0)]
    want += [(-x, y) for x, y in eye] + [eye[i] for i in (3, 2, 1, 0, 5, 4)]
    want += [
        (-2.5, -3.45),
        (-1.7, -2.9),
        (-0.7, -2.5),
        (0, -2.6),
        (0.7, -2.5),
        (1.7, -2.9),
        (2.5, -3.45),
        (1.7, -4.1),
        (0.7, -4.5),
        (0, -4.55),
        (-0.7, -4.5),
        (-1.7, -4.1),
    ]
    skin = np.where(face[:, 2] > -1)[0]
    out = [int(skin[np.hypot(*(face[skin, :2] - w).T).argmin()]) for w in want]
    for edge, xs in ((upper, (-2.2, -1.0, 0.0, 1.0, 2.2)), (lower, (1.0, 0.0, -1.0))):
        rows = np.where(edge)[0]
        out += [int(rows[np.abs(face[rows, 0] - x).argmin()]) for x in xs]
    return np.array(out, np.int32)


def builtin_head() -> HeadMesh:
    """The head of formulas: about 6,000 vertices, 10 identity modes, the shapes that speech needs."""
    pieces = _Pieces([], [], [], [], [])
    lower, upper = _skin(pieces)
    face = pieces.points[0]
    num_face, num_skin = len(face), pieces.num
    tongue_rows = _mouth(pieces, face, lower, upper)
    eyes = _eyes(pieces)
    p, jaw = np.concatenate(pieces.points), np.concatenate(pieces.jaw)
    edge = np.zeros(len(p))
    edge[:num_face] = np.where(face[:, 1] == MOUTH_Y, np.where(upper, 1.0, -1.0), np.sign(face[:, 1] - MOUTH_Y))
    near = _bell(p[:, 1] - MOUTH_Y, 1.0) * smoothstep(MOUTH_HALF, MOUTH_HALF * 0.5, np.abs(p[:, 0])) * (p[:, 2] > 7)
    shapes = _shapes(p, jaw, near * (edge < 0), near * (edge > 0), eyes, num_skin)
    groups = {name: np.zeros(len(p), bool) for name in ("teeth", "eyes", "lashes", "occlusion", "tongue")}
    groups["tongue"][tongue_rows] = True
    tri, material = np.concatenate(pieces.tri).astype(np.int32), np.concatenate(pieces.material).astype(np.int32)
    groups["teeth"][tri[material == mat.TEETH]] = True
    for rows in eyes.values():
        groups["eyes"][rows] = True
    every = np.arange(len(p), dtype=np.int32)
    modes = _identity_modes(p)
    scale = np.abs(modes).max((1, 2)) / 32767
    return HeadMesh(
        base=p.astype(np.float32),
        tri=tri,
        tri_uv=tri,
        uv=np.concatenate(pieces.uv).astype(np.float32),
        material=material,
        skin_verts=num_skin,
        face_verts=num_face,
        groups=groups,
        landmarks=_landmarks(face, lower, upper),
        shapes={k: _sparse(every, v) for k, v in shapes.items()},
        identity_modes=np.round(modes / scale[:, None, None]).astype(np.int16),
        identity_scale=scale.astype(np.float32),
    )


def _sparse(every: Ints, delta: Real) -> tuple[Ints, Real]:
    rows = np.abs(delta).max(1) > 1e-4
    return every[rows], np.ascontiguousarray(delta[rows], np.float32)
