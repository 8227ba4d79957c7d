"""What is drawn on the skin of the face: freckles, moles, lips, wrinkles, stubble, brows, make-up."""

from __future__ import annotations

import numpy as np

from latentsync.synth.arrays import Real
from latentsync.synth.face.atlas import FACE_TEXELS, Atlas
from latentsync.synth.face.fields import Noise, blob, both_sides, smoothstep, spline
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.layers import Layer, beard_area


def _fixed(points: Real) -> np.ndarray:
    """Points as the 1/16-pixel integers that OpenCV draws from."""
    return np.round(np.asarray(points) * 16).astype(np.int32)


def freckles_and_moles(layer: Layer, who: Identity, noise: Noise, rng: np.random.Generator) -> None:
    p = layer.points
    if who.freckles > 0:
        where = both_sides(p, (3.5, 0.8, 10), (3, 2, 3)) + blob(p, (0, 2, 12), (1.5, 2, 2))
        layer.darken(smoothstep(1.5, 2.3, noise.at(p, 3.3)) * where * who.freckles, (0.22, 0.33, 0.38))
    size = p.shape[0]
    yy, xx = np.mgrid[0:size, 0:size]
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform([0.2, 0.12], [0.8, 0.9]) * size
        radius = rng.uniform(1.2, 2.6) * size / FACE_TEXELS
        spot = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * radius * radius))
        layer.darken(spot, (0.4, 0.5, 0.55))
        layer.relief = layer.relief + 0.015 * spot


def lips(layer: Layer, who: Identity, atlas: Atlas, noise: Noise, base: Real) -> None:
    """Colour, vertical creases, a darker wet line and gloss."""
    p = layer.points
    amount = atlas.lips * who.lips.amount
    tint = base * np.array([0.92, 0.66, 0.66]) * (0.88 + 0.2 * (1 - who.tone)) * np.array(who.lips.tint)
    folds = noise.at(np.stack([p[..., 0] * 5, p[..., 1] * 0.8, p[..., 2] * 0], -1), 1.0)
    fine = noise.at(np.stack([p[..., 0] * 11, p[..., 1] * 1.3, p[..., 2] * 0], -1), 1.0)
    colour = tint * (1 + 0.04 * folds[..., None] + 0.03 * fine[..., None] - 0.30 * atlas.wet_line[..., None])
    layer.cover(amount, colour)
    layer.relief = layer.relief * (1 - 0.8 * amount) + (0.009 * folds + 0.005 * fine) * atlas.lips
    wet = np.clip(0.35 * who.lips.gloss + 0.35 * atlas.wet_line, 0, 1)
    layer.specular = layer.specular * (1 - amount) + (0.46 + wet) * amount
    layer.gloss = layer.gloss * (1 - amount) + (0.40 + 0.5 * who.lips.gloss + 0.3 * atlas.wet_line) * amount


def wrinkles(layer: Layer, who: Identity, atlas: Atlas, rng: np.random.Generator) -> None:
    """Folds beside the mouth, crow's feet, lid creases, forehead lines; deeper with age."""
    import cv2

    size = layer.points.shape[0]
    unit = size / FACE_TEXELS
    lm = atlas.landmarks / unit  # drawn in texels of the full map
    depth = np.zeros((size, size), np.float32)

    def line(points: Real, width: float, amount: float) -> None:
        nonlocal depth
        stroke = np.zeros((size, size), np.float32)
        cv2.polylines(stroke, [_fixed(points * unit)], False, 1.0, 2, cv2.LINE_AA, 4)
        depth = depth + amount * np.clip(cv2.GaussianBlur(stroke, (0, 0), width * unit) * width * unit * 1.8, 0, 1)

    for side, nose, mouth, outer, inner in ((1, 31, 48, 36, 39), (-1, 35, 54, 45, 42)):
        d = np.array([-16.0 * side, 0])
        fold = [
            lm[nose] + d * 0.9 + [0, 4],
            lm[nose] + d * 1.6 + [0, -18],
            lm[mouth] + d * 1.8 + [0, 14],
            lm[mouth] + d * 1.3 + [0, -26],
        ]
        line(spline(np.array(fold), 10)[:30], 6, 0.10 + 0.5 * who.age)
        e, u = lm[outer], lm[inner]
        for j in (-1, 0, 1):
            line(e + np.array([[-10 * side, 3 * j], [-34 * side, 14 * j - 3]]), 1.6, 0.55 * max(who.age - 0.3, 0))
        line(np.stack([u, u, e]) + np.array([[0, -8], [-22 * side, -19], [8 * side, -17]]), 2.5, 0.2 + 0.5 * who.age)
    for j in range(3):
        y = lm[19][1] + 46 + 30 * j
        bend = 3 * (-1) ** j
        points = np.array(
            [
                [FACE_TEXELS * 0.36, y - 6],
                [FACE_TEXELS * 0.45, y + bend],
                [FACE_TEXELS * 0.55, y],
                [FACE_TEXELS * 0.64, y - 6],
            ]
        )
        line(points, 3.2, float(rng.uniform(0.2, 0.5)) * max(who.age - 0.25, 0))
    layer.relief = layer.relief - 0.035 * depth
    layer.darken(depth, (0.06, 0.09, 0.10))


def stubble(layer: Layer, who: Identity, atlas: Atlas, noise: Noise) -> None:
    """Shadow of a shaved beard, or the skin under one."""
    p = layer.points
    area = beard_area(p)
    amount = who.stubble * np.clip(area + 0.25 * noise.octaves(p, 1.3), 0, 1) * (area > 0.02) * (1 - atlas.lips)
    if amount.max() <= 0:
        return
    grain = np.clip(0.62 + 0.34 * noise.at(p, 23.0) + 0.30 * noise.at(p, 14.0) + 0.12 * noise.at(p, 3.0), 0, 1.3)
    layer.cover(np.clip(amount * 0.72 * grain, 0, 1), np.array(who.hair_rgb) * 0.7)


def brows(layer: Layer, who: Identity, atlas: Atlas, rng: np.random.Generator) -> None:
    """Eyebrows drawn hair by hair over a soft base."""
    import cv2

    look = who.brows
    canvas = np.zeros(layer.relief.shape, np.float32)
    unit = len(canvas) / FACE_TEXELS
    for side, ids in ((1, [17, 18, 19, 20, 21]), (-1, [26, 25, 24, 23, 22])):
        q = atlas.landmarks[ids] / unit - [0, look.drop]
        k = np.linspace(0, 1, 60) * 4
        i = np.minimum(k.astype(int), 3)
        f = (k - i)[:, None]
        line = q[i] * (1 - f) + q[i + 1] * f
        line = np.stack([np.convolve(np.pad(line[:, a], 8, "edge"), np.ones(17) / 17, "valid") for a in (0, 1)], 1)
        for _ in range(int(700 * look.density * unit)):
            u = rng.beta(1.3, 1.0)
            thick = look.width * (0.35 + 0.65 * min(u * 1.9, 1)) * (1 if u < 0.93 else 0.8)
            offset = rng.normal() * thick * 0.45
            angle = np.radians(18 + 62 * u**1.6 + rng.normal() * 13)
            length = rng.uniform(0.7, 1.2) * look.length * (1 if offset < thick * 0.3 else 0.8)
            start = line[int(u * 59)] + [0, offset]
            end = start + np.array([-np.cos(angle) * side, np.sin(angle)]) * length
            a, b = _fixed(np.stack([start, end]) * unit).tolist()
            cv2.line(canvas, tuple(a), tuple(b), float(rng.uniform(0.3, 0.8)), 1, cv2.LINE_AA, 4)
        soft = np.zeros_like(canvas)
        cv2.polylines(soft, [_fixed(line[6:] * unit)], False, 1.0, max(int(look.width * 0.9 * unit), 1), cv2.LINE_AA, 4)
        canvas = np.maximum(canvas, cv2.GaussianBlur(soft, (0, 0), 5 * unit) * 0.5 * look.density)
    amount = np.clip(cv2.GaussianBlur(canvas, (0, 0), 0.7) * 1.15, 0, 1) * look.alpha
    layer.cover(amount, np.array(who.hair_rgb) * 0.55 + 0.02)
    layer.specular = layer.specular * (1 - 0.8 * amount)
    layer.relief = layer.relief + 0.012 * amount


def eye_makeup(layer: Layer, who: Identity) -> None:
    if who.makeup > 0:
        amount = 0.55 * who.makeup * both_sides(layer.points, (3.1, 4.25, 9.4), (1.7, 0.6, 1.6))
        layer.cover(np.clip(amount, 0, 1), np.array(who.shadow_rgb) * 0.55)
