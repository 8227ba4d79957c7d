"""Longer hair: a few hundred ribbons that grow from the scalp, follow it, and fall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from latentsync.synth.arrays import Real
from latentsync.synth.face.fields import smoothstep
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart
from latentsync.synth.render import materials as mat


@dataclass(frozen=True)
class RibbonStyle:
    """How a style grows: number of ribbons, length range (cm), gravity per step, how flat it lies, sideways wave."""

    num: int
    length: tuple[float, float]
    gravity: float
    flat: float
    falls: bool = False


RIBBON_STYLES = {
    "long": RibbonStyle(760, (24, 34), 0.62, 0.95, True),
    "bob": RibbonStyle(700, (15, 20), 0.60, 0.92, True),
    "side": RibbonStyle(640, (4.5, 7), 0.16, 0.9),
    "back": RibbonStyle(640, (6, 10), 0.16, 0.85),
    "short": RibbonStyle(620, (1.6, 3.2), 0.08, 0.55),
}


def strand_texture(rng: np.random.Generator) -> Real:
    """(256, 128) brightness in [0, 1] along (rows) and across (columns) bundles of hair."""
    t = gaussian_filter(rng.normal(size=(256, 128)), (14, 0.7), mode="wrap")
    return np.clip(t / t.std() * 0.24 + 0.5, 0, 1).astype(np.float32)


def _unit(v: Real) -> Real:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _start(p: Real, n: Real, style: str, part: float, rng: np.random.Generator) -> Real:
    """(N, 3) direction in which each ribbon leaves the skin."""
    side = np.tanh((p[:, 0] - part) * 1.5)[:, None]
    if RIBBON_STYLES[style].falls:
        d = n * 0.55 + side * np.array([0.8, 0, 0]) + [0, 0.1, -0.25]
        near = np.where(np.abs(p[:, :1] - part) < 5, 1, 0.4)
        d = d + smoothstep(2.5, 7.5, p[:, 2])[:, None] * np.array([0, 0.1, -0.75]) * near
    elif style == "side":
        down = -0.2 - 0.5 * (np.abs(p[:, 0]) > 5)
        d = n * 0.4 + side * np.array([0.8, 0, 0])
        d = d + np.stack([0 * down, down, 0.25 * (p[:, 2] > 0) - 0.4 * (p[:, 2] < 0)], 1)
    elif style == "back":
        d = n * 0.45 + np.array([0, 0.35, -1.0])
    else:
        d = n * 0.55 + rng.normal(0, 0.3, p.shape) + [0, -0.1, 0.35]
    return _unit(d + rng.normal(0, 0.12, p.shape))


def _keep_clear(q: Real, part: float, clear: Real, near: np.ndarray) -> Real:
    """Keep falling hair off the face's front and close to the neck and shoulders."""
    front = (q[:, 2] > 5.5) & (q[:, 1] < 8.5) & (np.abs(q[:, 0]) < 8.6)
    q[front, 0] += np.sign(q[front, 0] - part) * np.clip(8.6 - np.abs(q[front, 0]), 0, 0.9)
    q[front, 2] -= 0.9
    radius, limit = np.hypot(q[:, 0], q[:, 2] + 1), 9.6 + 1.6 * clear
    f = np.where((q[:, 1] < 2) & (radius > limit), limit / radius, 1)
    f = 1 - 0.55 * (1 - f)
    q[:, 0] *= f
    q[:, 2] = (q[:, 2] + 1) * f - 1
    low = (q[:, 1] < -14) & ~near
    q[low, 1] += 0.3
    return q


def grow_ribbons(
    mesh: HeadMesh, neutral: Real, normals: Real, density: Real, style: str, rng: np.random.Generator
) -> MeshPart:
    """Grow all ribbons of a style, outer ones first (they hide the rest)."""
    look = RIBBON_STYLES[style]
    num = look.num
    tri = mesh.tri[(density[mesh.tri] > 0.3).all(1) & (mesh.tri < mesh.skin_verts).all(1)]
    corner = neutral[tri]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    chosen, bary = rng.choice(len(tri), num, p=area / area.sum()), rng.dirichlet([1, 1, 1], num)[..., None]
    p, n = (neutral[tri[chosen]] * bary).sum(1), _unit((normals[tri[chosen]] * bary).sum(1))
    root = (mesh.base[tri[chosen]] * bary).sum(1)
    part = {"side": 2.2, "long": rng.choice([0.0, 1.8, -1.8]), "bob": rng.choice([0.0, 2, -2])}.get(style, 0.0)
    total = rng.uniform(*look.length)
    steps = 13 if total > 12 else 8
    d = _start(p, n, style, part, rng)
    curl, phase = (rng.uniform(0, 0.5) if look.falls else 0.1), rng.uniform(0, 6.28, num)
    clear = rng.uniform(0.15, 1.0, num) + (0.45 if look.falls else 0.15)
    order = np.argsort(-clear)
    clear, d, p, n, root, phase = clear[order], d[order], p[order], n[order], root[order], phase[order]
    step = (total / (steps - 1) * rng.uniform(0.75, 1.05, num))[:, None]
    tree = cKDTree(neutral[: mesh.skin_verts])
    points, facing = [p + n * 0.05], [n]
    for k in range(1, steps):
        distance, nearest = tree.query(points[-1])
        skin = normals[nearest]
        flat = look.flat * (distance < 3.5) * (0.4 + 0.6 * min(1, k / 3))
        out = (d * skin).sum(1)
        d = _unit(d - skin * (np.where(out > 0, out, 0) * flat)[:, None])
        q = points[-1] + d * step
        distance, nearest = tree.query(q)
        skin, near = normals[nearest], distance < 4.5
        above = ((q - neutral[nearest]) * skin).sum(1)
        q = q + skin * (np.clip(clear * min(1, k / 3) - above, 0, 1.2) * near)[:, None]
        if look.falls:
            q = _keep_clear(q, part, clear, near)
        round_ = q - [0, 3, 0.0]
        round_[:, 1] *= 0.2
        round_ = _unit(round_)
        facing.append(np.where(near[:, None], skin * 0.6 + round_ * 0.4, round_))
        wave = np.stack([np.sin(k * 1.3 + phase), 0 * phase, np.cos(k * 1.3 + phase)], 1)
        d = _unit(_unit(q - points[-1]) * (0.62 if look.falls else 0.8) + [0, -look.gravity, 0] + 0.18 * curl * wave)
        points.append(q)
    return _ribbons(np.stack(points, 1), _unit(np.stack(facing, 1)), root, clear, look.falls, rng)


def _ribbons(line: Real, facing: Real, root: Real, clear: Real, falls: bool, rng: np.random.Generator) -> MeshPart:
    """Turn (N, K, 3) centre lines into flat ribbons with rounded normals."""
    num, steps = line.shape[:2]
    side = _unit(np.cross(_unit(np.gradient(line, axis=1)), facing))
    half = rng.uniform(0.5, 1.15, (num, 1, 1)) * (1.3 if falls else 1.0) * 0.5
    points = np.stack([line - side * half, line + side * half], 2).reshape(-1, 3)
    normals = _unit(np.stack([facing - side * 0.5, facing + side * 0.5], 2)).reshape(-1, 3)
    across = np.broadcast_to(np.array([0.0, 1.0]), (num, steps, 2))
    along = np.broadcast_to(np.linspace(0, 1, steps)[None, :, None], (num, steps, 2))
    per = steps * 2
    depth = np.repeat(np.clip(clear - 0.25, 0, 1), per)
    att = np.ones((num * per, 4), np.float32)
    att[:, 0], att[:, 1], att[:, 2] = np.clip(0.55 + 0.45 * depth, 0, 1), depth, np.repeat(rng.random(num), per)
    i = (np.arange(num)[:, None] * per + np.arange(steps - 1)[None] * 2).ravel()
    tri = np.concatenate([np.stack([i, i + 1, i + 2], 1), np.stack([i + 1, i + 3, i + 2], 1)])
    return MeshPart.build(
        points,
        normals,
        tri,
        mat.RIBBON,
        uv=np.stack([across, along], -1).reshape(-1, 2),
        rest=np.repeat(root, per, 0),
        att=att,
        casts=(tri[:, 0] // per) % 5 == 0,
        weight=0.2 + 0.8 * smoothstep(-16, -9, points[:, 1]),
    )
