"""Numba kernels that colour the samples, blend the films (cornea, lid shade, lashes) and apply the tone curve."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from latentsync.core.values import Bytes, Float
from latentsync.synth.render.geometry import INLINE, OPTIONS, Ints
from latentsync.synth.render.materials import (
    CLOTH,
    CORNEA,
    FABRIC,
    HAND,
    IRIS,
    LASH,
    RIBBON,
    SCALP,
    SHELL,
    SKIN,
    TEETH,
)
from latentsync.synth.render.raster import hash_cell, strand


@njit(**INLINE)
def fetch(texture: Float, u: float, v: float, out: Float) -> None:
    """Bilinear look-up of an (n, n, 5) texture at u, v in [0, 1]: linear r, g, b and slopes along u, v."""
    n = texture.shape[0]
    x = min(max(u * n - 0.5, 0.0), n - 1.001)
    y = min(max(v * n - 0.5, 0.0), n - 1.001)
    i, j = int(x), int(y)
    x -= i
    y -= j
    e0, e1, e2, e3 = np.float32((1 - x) * (1 - y)), np.float32(x * (1 - y)), np.float32((1 - x) * y), np.float32(x * y)
    for k in range(5):
        top = e0 * texture[j, i, k] + e1 * texture[j, i + 1, k]
        out[k] = top + e2 * texture[j + 1, i, k] + e3 * texture[j + 1, i + 1, k]


@njit(**INLINE)
def shade(
    s: Float,
    tri: Ints,
    material: Ints,
    t: int,
    x: int,
    y: int,
    uv: Float,
    rest: Float,
    att: Float,
    lit: Float,
    face: Float,
    scalp: Float,
    iris: Float,
    strands: Float,
    colour_a: Float,
    colour_b: Float,
    stripe: float,
    texel: Float,
    out: Float,
) -> None:
    """Linear colour of triangle t at sample x, y, to out[0:3]. `lit`: see `light_vertices`; `texel`: scratch, 5."""
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    m = material[t]
    x0, y0 = s[a, 0], s[a, 1]
    x1, y1, x2, y2 = s[b, 0] - x0, s[b, 1] - y0, s[c, 0] - x0, s[c, 1] - y0
    ia = 1 / (x1 * y2 - x2 * y1)
    px, py = x + 0.5 - x0, y + 0.5 - y0
    w1, w2 = np.float32((px * y2 - x2 * py) * ia), np.float32((x1 * py - px * y1) * ia)
    w0 = np.float32(1) - w1 - w2
    red, green, blue = colour_a[m, 0], colour_a[m, 1], colour_a[m, 2]
    relief = 1.0
    if m == SKIN or m == SCALP or m == IRIS:
        u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
        v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
        fetch(face if m == SKIN else (scalp if m == SCALP else iris), u, v, texel)
        red, green, blue = texel[0], texel[1], texel[2]
        bu = w0 * lit[a, 6] + w1 * lit[b, 6] + w2 * lit[c, 6]
        bv = w0 * lit[a, 7] + w1 * lit[b, 7] + w2 * lit[c, 7]
        relief = min(max(1 - texel[3] * bu - texel[4] * bv, 0.35), 1.7)
    elif m == RIBBON:
        u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
        v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
        q = strand(strands, u, att[a, 2], v)
        k = min(max(att[a, 2] * 0.6 + 0.45 * (q - 0.3), 0.0), 1.0)
        e = 0.35 + 0.9 * q
        red = (red + (colour_b[m, 0] - red) * k) * e
        green = (green + (colour_b[m, 1] - green) * k) * e
        blue = (blue + (colour_b[m, 2] - blue) * k) * e
    elif m == SHELL:
        cells = att[a, 3]
        rx = w0 * rest[a, 0] + w1 * rest[b, 0] + w2 * rest[c, 0]
        ry = w0 * rest[a, 1] + w1 * rest[b, 1] + w2 * rest[c, 1]
        rz = w0 * rest[a, 2] + w1 * rest[b, 2] + w2 * rest[c, 2]
        k = hash_cell(math.floor(rx * cells), math.floor(ry * cells * uv[a, 0]), math.floor(rz * cells))
        e = 0.35 + 0.65 * att[a, 2]
        red = (red + (colour_b[m, 0] - red) * k) * e
        green = (green + (colour_b[m, 1] - green) * k) * e
        blue = (blue + (colour_b[m, 2] - blue) * k) * e
    elif m == CLOTH:
        rx = w0 * rest[a, 0] + w1 * rest[b, 0] + w2 * rest[c, 0]
        ry = w0 * rest[a, 1] + w1 * rest[b, 1] + w2 * rest[c, 1]
        i = int(abs(ry) * 9 + abs(rx) * 7) % strands.shape[0]
        e = 0.88 + 0.24 * strands[i, int(abs(rx) * 23) % strands.shape[1]]
        if stripe > 0 and (ry * stripe) % 1.0 > 0.5:
            red, green, blue = colour_b[m, 0], colour_b[m, 1], colour_b[m, 2]
        red, green, blue = red * e, green * e, blue * e
    elif m == HAND or m == FABRIC:
        red = w0 * att[a, 1] + w1 * att[b, 1] + w2 * att[c, 1]
        green = w0 * att[a, 2] + w1 * att[b, 2] + w2 * att[c, 2]
        blue = w0 * att[a, 3] + w1 * att[b, 3] + w2 * att[c, 3]
        cells = 26.0 if m == HAND else 11.0
        rx = w0 * rest[a, 0] + w1 * rest[b, 0] + w2 * rest[c, 0]
        ry = w0 * rest[a, 1] + w1 * rest[b, 1] + w2 * rest[c, 1]
        rz = w0 * rest[a, 2] + w1 * rest[b, 2] + w2 * rest[c, 2]
        k = hash_cell(math.floor(rx * cells), math.floor(ry * cells), math.floor(rz * cells))
        e = 0.96 + 0.08 * k if m == HAND else 0.88 + 0.24 * k
        rib = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
        if m == FABRIC and rib != 0:  # knitted
            rib = abs(rib - math.floor(rib) - 0.5) * 2
            e *= 1.08 - 0.5 * rib * rib
        red, green, blue = red * e, green * e, blue * e
    shine = relief * relief
    out[0] = red * relief * (w0 * lit[a, 0] + w1 * lit[b, 0] + w2 * lit[c, 0])
    out[1] = green * relief * (w0 * lit[a, 1] + w1 * lit[b, 1] + w2 * lit[c, 1])
    out[2] = blue * relief * (w0 * lit[a, 2] + w1 * lit[b, 2] + w2 * lit[c, 2])
    out[0] += shine * (w0 * lit[a, 3] + w1 * lit[b, 3] + w2 * lit[c, 3])
    out[1] += shine * (w0 * lit[a, 4] + w1 * lit[b, 4] + w2 * lit[c, 4])
    out[2] += shine * (w0 * lit[a, 5] + w1 * lit[b, 5] + w2 * lit[c, 5])


@njit(**OPTIONS)
def resolve(
    s: Float,
    tri: Ints,
    material: Ints,
    uv: Float,
    rest: Float,
    att: Float,
    lit: Float,
    face: Float,
    scalp: Float,
    iris: Float,
    strands: Float,
    colour_a: Float,
    colour_b: Float,
    stripe: float,
    index: Ints,
    colour: Float,
    cover: Float,
) -> None:
    """Mean colour and coverage of each pixel's 2×2 samples, to `colour` (H, W, 3) and `cover` (H, W).

    A pixel that is one smooth material is coloured once; edges, teeth and hair are coloured per sample.
    """
    out, texel = np.zeros(3, np.float32), np.zeros(5, np.float32)
    for y in range(colour.shape[0]):
        for x in range(colour.shape[1]):
            t0, t3 = index[2 * y, 2 * x], index[2 * y + 1, 2 * x + 1]
            t1, t2 = index[2 * y, 2 * x + 1], index[2 * y + 1, 2 * x]
            m0 = material[t0] if t0 >= 0 else -1
            m3 = material[t3] if t3 >= 0 else -1
            hair = m0 == RIBBON or m0 == SHELL or m3 == RIBBON or m3 == SHELL
            if hair:  # hair lives on two of the four samples
                k = (t0 >= 0) + (t3 >= 0)
                cover[y, x] = k * 0.5
            else:
                k = (t0 >= 0) + (t1 >= 0) + (t2 >= 0) + (t3 >= 0)
                cover[y, x] = k * 0.25
            r = g = b = np.float32(0)
            if k == 0:
                colour[y, x, 0], colour[y, x, 1], colour[y, x, 2] = r, g, b
                continue
            plain = not hair and k == 4 and m0 == m3 == material[t1] == material[t2] and m0 != TEETH
            first, last = (0, 0) if plain else (0, 3)
            share = np.float32(1.0) if plain else np.float32(1.0 / k)
            for q in range(first, last + 1):
                if hair and (q == 1 or q == 2):
                    continue
                t = index[2 * y + (q >> 1), 2 * x + (q & 1)]
                if t >= 0:
                    shade(
                        s,
                        tri,
                        material,
                        t,
                        2 * x + (q & 1),
                        2 * y + (q >> 1),
                        uv,
                        rest,
                        att,
                        lit,
                        face,
                        scalp,
                        iris,
                        strands,
                        colour_a,
                        colour_b,
                        stripe,
                        texel,
                        out,
                    )
                    r += out[0] * share
                    g += out[1] * share
                    b += out[2] * share
            colour[y, x, 0], colour[y, x, 1], colour[y, x, 2] = r, g, b


@njit(**OPTIONS)
def blend_films(
    s: Float,
    tri: Ints,
    material: Ints,
    films: Ints,
    att: Float,
    lit: Float,
    colour_a: Float,
    film_alpha: Float,
    z_map: Float,
    colour: Float,
) -> None:
    """Blend the film triangles over `colour` where they are not hidden. The cornea only adds its highlight."""
    height, width = z_map.shape
    for q in range(films.shape[0]):
        t = films[q]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        m = material[t]
        x0, y0, x1, y1, x2, y2 = s[a, 0], s[a, 1], s[b, 0], s[b, 1], s[c, 0], s[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if (m == CORNEA and area >= 0) or abs(area) < 1e-9:
            continue
        left, right = max(int(min(x0, x1, x2)), 0), min(int(max(x0, x1, x2)) + 1, width - 1)
        top, bottom = max(int(min(y0, y1, y2)), 0), min(int(max(y0, y1, y2)) + 1, height - 1)
        ia = 1 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * ia
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * ia
                w0 = 1 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0 or w0 * s[a, 2] + w1 * s[b, 2] + w2 * s[c, 2] > z_map[y, x]:
                    continue
                if m == CORNEA:
                    for k in range(3):
                        colour[y >> 1, x >> 1, k] += 0.25 * (
                            w0 * lit[a, 3 + k] + w1 * lit[b, 3 + k] + w2 * lit[c, 3 + k]
                        )
                    continue
                alpha = w0 * att[a, 1] + w1 * att[b, 1] + w2 * att[c, 1]
                if m == LASH:
                    alpha *= alpha
                alpha *= film_alpha[m] * 0.25
                for k in range(3):
                    light = w0 * lit[a, k] + w1 * lit[b, k] + w2 * lit[c, k]
                    colour[y >> 1, x >> 1, k] = colour[y >> 1, x >> 1, k] * (1 - alpha) + alpha * colour_a[m, k] * light


@njit(**OPTIONS)
def develop(colour: Float, cover: Float, background: Float, exposure: float, tint: Float, out: Bytes) -> None:
    """Linear light to display values with a film-like shoulder, over `background` (H, W, 3) in 0 … 255."""
    for y in range(colour.shape[0]):
        for x in range(colour.shape[1]):
            k = cover[y, x]
            for c in range(3):
                v = 0.0
                if k > 0:
                    e = colour[y, x, c] * exposure * tint[c]
                    v = math.sqrt(min(max(e * (1 + e * 0.18) / (1 + e * 0.72) * 1.15, 0.0), 1.0)) * k * 255
                out[y, x, c] = np.uint8(min(v + (1 - k) * background[y, x, c] + 0.5, 255.0))
