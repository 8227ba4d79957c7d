"""Procedural skin: colour, relief and gloss painted by position on the head."""

from __future__ import annotations

import numpy as np

from latentsync.synth.arrays import Real
from latentsync.synth.face.atlas import Atlas
from latentsync.synth.face.fields import Noise, blob, both_sides, smoothstep
from latentsync.synth.face.identity import Hairline, Identity
from latentsync.synth.face.layers import Layer

TONES = (
    np.array(
        [
            [224, 178, 152],
            [220, 170, 140],
            [210, 158, 125],
            [196, 142, 108],
            [190, 136, 101],
            [160, 108, 78],
            [126, 82, 58],
            [96, 61, 44],
            [70, 44, 33],
        ],
        np.float32,
    )
    / 255
)
"""Nine display colours from light to dark skin, chosen by eye."""


def skin_tone(x: float) -> Real:
    """Colour on the light-to-dark scale, x in [0, 1]."""
    position = np.clip(x, 0, 1) * (len(TONES) - 1)
    i = min(int(position), len(TONES) - 2)
    return TONES[i] * (1 - position + i) + TONES[i + 1] * (position - i)


def inside_hairline(points: Real, line: Hairline) -> Real:
    """How far (cm) points on the head lie above the hairline; negative on the face."""
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    azimuth = np.degrees(np.arctan2(x, z - 1.0))
    at = np.array([0, 18, 33, 45, 58, 70, 80, 92, 105, 122, 140, 180.0])
    h0, side, nape = line.forehead, line.side, line.nape
    height = np.array(
        [h0, h0 - 0.1, h0 - 0.2 + line.temple, h0 - 1.6, h0 - 3.2, side + 2.2, side, 6.2, 5.6, 0.5, nape + 1.2, nape]
    )
    return y - np.interp(azimuth, at, height)


def base_layer(points: Real, who: Identity, noise: Noise, base: Real) -> Layer:
    """Tone, redness, shadows under the eyes, mottling, pores; relief and gloss of bare skin."""
    p = points
    x, z = np.abs(p[..., 0]), p[..., 2]
    low, mid, fine = noise.octaves(p, 0.22), noise.octaves(p, 1.3), noise.octaves(p, 6.0, 2)
    cheeks = 0.55 * both_sides(p, (5.0, -0.3, 8), (2.4, 2.2, 4))
    nose_chin = 0.5 * blob(p, (0, 0.6, 12.6), (1.6, 1.4, 2.5)) + 0.35 * blob(p, (0, -6.8, 11), (2, 1.5, 3))
    red = (cheeks + nose_chin) * who.blush + 0.35 * (x > 8) * (z < 3)
    red += 0.22 * both_sides(p, (3.2, 3.6, 9.2), (2.2, 0.9, 2)) + 0.09 * low + 0.05 * mid
    colour = np.broadcast_to(base, p.shape) * np.stack([1 + 0.04 * red, 1 - 0.20 * red, 1 - 0.20 * red], -1)
    dark = 0.16 * both_sides(p, (2.9, 2.2, 9.4), (1.5, 0.55, 2)) * (0.5 + who.age)
    dark += 0.10 * both_sides(p, (3.2, 4.6, 9.3), (2.1, 0.6, 2)) + 0.07 * both_sides(
        p, (2.2, 3.3, 9.0), (0.8, 0.8, 1.5)
    )
    dark += 0.022 * low + 0.016 * mid + (0.016 + 0.014 * who.age) * fine
    colour = colour * (1 - np.clip(dark, -0.2, 0.6))[..., None]
    # pores: small pits, deeper on nose and cheeks
    pit = np.clip(noise.at(p, 13.0) - 0.4, 0, 1.5)
    depth = 0.004 + 0.006 * (blob(p, (0, 1.0, 12.0), (2.4, 2.6, 3)) + both_sides(p, (3.4, -0.2, 10), (2.2, 2.0, 3)))
    relief = 0.010 * mid + 0.0045 * fine - depth * (0.6 + 0.6 * who.age) * pit
    specular = 0.30 + 0.22 * blob(p, (0, 8.5, 11), (3.5, 2.5, 4)) + 0.30 * blob(p, (0, 2, 12.2), (1.2, 3, 2.5))
    specular = specular + 0.12 * both_sides(p, (4.3, 1.2, 9.5), (1.6, 1.2, 2)) + 0.06 * mid
    return Layer(p, colour.astype(np.float32), relief, specular, 0.38 + 0.05 * mid)


def slopes(layer: Layer) -> Real:
    """(H, W, 2) slope of the relief along u and v (cm per cm), limited to 0.6."""
    out = []
    for axis in (1, 0):
        step = np.linalg.norm(np.gradient(layer.points, axis=axis), axis=-1)
        out.append(np.gradient(layer.relief, axis=axis) / np.clip(step, 0.008, 0.2))
    return np.clip(np.stack(out, -1), -0.6, 0.6).astype(np.float32)


def paint_skin(atlas: Atlas, who: Identity, rng: np.random.Generator) -> dict[str, tuple[Real, Real]]:
    """Paint a person.

    Returns: for "face" and "head": (H, W, 5) float32 linear r, g, b and slopes along u, v; and (H, W, 2) float32
        specular weight and gloss in [0, 1].
    """
    from latentsync.synth.face import marks

    noise = Noise(rng)
    base = np.clip(skin_tone(who.tone) * (1 + rng.normal(0, 0.02, 3)), 0, 1).astype(np.float32)
    out = {}
    for name, points in (("face", atlas.face), ("head", atlas.head)):
        layer = base_layer(points, who, noise, base)
        if name == "face":
            marks.freckles_and_moles(layer, who, noise, rng)
            marks.lips(layer, who, atlas, noise, base)
            marks.wrinkles(layer, who, atlas, rng)
            marks.stubble(layer, who, atlas, noise)
            marks.brows(layer, who, atlas, rng)
            marks.eye_makeup(layer, who)
        painted_scalp(layer, who, noise)
        cavity = np.clip(1 + 6.0 * (layer.relief - layer.relief.mean()), 0.75, 1.15)[..., None]
        colour = np.clip(layer.colour, 0, 1) ** 2 * cavity
        texture = np.concatenate([colour, slopes(layer)], -1).astype(np.float32)
        shine = np.clip(np.stack([layer.specular, layer.gloss], -1), 0, 1).astype(np.float32)
        out[name] = (texture, shine)
    return out


def painted_scalp(layer: Layer, who: Identity, noise: Noise) -> None:
    """Hair roots: what is seen of the scalp through the hair."""
    p = layer.points
    mid, fine = noise.octaves(p, 1.3), noise.octaves(p, 6.0, 2)
    edge = inside_hairline(p, who.hairline) + 0.45 * mid + 0.35 * fine
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    amount = smoothstep(-0.35, 0.75, edge) * who.scalp * ((x < 7.6) | (y > 6) | (z < -2.5))
    layer.cover(amount, np.array(who.hair_rgb) * (0.55 + 0.18 * np.clip(fine, -1, 1.5)[..., None]))
    layer.specular = layer.specular * (1 - 0.8 * amount)


def iris_texture(rng: np.random.Generator, colour: tuple[float, float, float], size: int = 64) -> Real:
    """(size, size, 5) linear texture of an eyeball seen from the front: pupil, iris, white; no relief."""
    big = size * 4
    y, x = (np.mgrid[0:big, 0:big] + 0.5) / big - 0.5
    d, angle = np.hypot(x, y) / 0.5, np.arctan2(y, x)
    coarse = np.interp(angle, np.linspace(-np.pi, np.pi, 61), rng.normal(size=61))
    rays = np.interp(angle, np.linspace(-np.pi, np.pi, 181), rng.normal(size=181))
    edge, pupil = rng.uniform(0.56, 0.61), rng.uniform(0.17, 0.23)
    rgb = np.array(colour) * (1 + 0.16 * rays + 0.12 * coarse)[..., None]
    rgb = rgb * (0.75 + 0.55 * np.clip((d - pupil) / (edge - pupil), 0, 1))[..., None]
    rgb = (
        rgb
        * (1 - 0.75 * smoothstep(edge - 0.11, edge, d))[..., None]
        * smoothstep(pupil - 0.03, pupil + 0.03, d)[..., None]
    )
    white = np.array([0.70, 0.66, 0.64]) - smoothstep(0.6, 1.1, d)[..., None] * np.array([0.06, 0.16, 0.17])
    k = smoothstep(edge - 0.03, edge + 0.035, d)[..., None]
    rgb = np.clip(rgb * (1 - k) + white * k, 0, 1) ** 2
    small = rgb.reshape(size, 4, size, 4, 3).mean((1, 3))
    return np.concatenate([small, np.zeros((size, size, 2))], -1).astype(np.float32)
