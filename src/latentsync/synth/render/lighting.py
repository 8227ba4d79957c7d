"""Numba kernel that lights every vertex: the mesh is about as dense as the pixels, so pixels need no light."""

from __future__ import annotations

import math

from numba import njit

from latentsync.core.values import Float
from latentsync.synth.render.geometry import INLINE, OPTIONS, Bools, Ints, shadow_at
from latentsync.synth.render.materials import RIBBON, SHELL, SKIN, TEETH


@njit(**INLINE)
def strand_highlight(nx: float, nz: float, hx: float, hy: float, hz: float, shininess: float) -> float:
    """Kajiya-Kay highlight of a hair that runs downwards over the surface; the half vector is h."""
    tx, tz = nx * 0.2, nz * 0.2
    along = tx * hx - hy + tz * hz
    along = along * along / (1 + tx * tx + tz * tz)
    return 0.12 * math.exp(shininess * math.log(max(1 - along, 1e-4)))


@njit(**INLINE)
def surface_highlight(nh: float, vh: float, shininess: float) -> float:
    """Blinn highlight with Schlick's Fresnel term, normalised; nh and vh are the cosines to the half vector."""
    f = 1 - max(vh, 0.0)
    f2 = f * f
    return (shininess + 2) * 0.125 * math.exp(shininess * math.log(max(nh, 1e-4))) * (0.045 + 0.955 * f2 * f2 * f)


@njit(**OPTIONS)
def light_vertices(
    p: Float,
    n: Float,
    tangent: Float,
    att: Float,
    rest: Float,
    vertex_material: Ints,
    constants: Float,
    depth_shade: Float,
    aux: Float,
    eye: Float,
    directions: Float,
    colours: Float,
    sky: Float,
    ground: Float,
    gloss: float,
    in_light: Float,
    z_map: Float,
    lit: Float,
    away: Bools,
) -> None:
    """Diffuse and specular light at every vertex.

    Args:
        p, n, tangent: (V, 3) position (cm), normal and direction of growing u.
        att: (V, 4); column 0 is the ambient visibility in [0, 1], column 1 the depth of a hair in the hair.
        directions, colours: (3, 3) key, fill and rim light; only the key light throws shadows.
        sky, ground: (3,) ambient light from above and below.
        in_light: (V, 3) the vertices projected into the key light's depth map `z_map`.
        lit: out, (V, 8): diffuse r, g, b; specular r, g, b; change of the light per slope along u and v, relative.
            One array, since the renderer looks all of it up at once.
        away: out, (V,) vertices that cannot be seen.
    """
    for i in range(p.shape[0]):
        m = vertex_material[i]
        nx, ny, nz = n[i, 0], n[i, 1], n[i, 2]
        vx, vy, vz = eye[0] - p[i, 0], eye[1] - p[i, 1], eye[2] - p[i, 2]
        s = 1 / math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * s, vy * s, vz * s
        nv = nx * vx + ny * vy + nz * vz
        away[i] = nv < (-0.15 if m == RIBBON else -0.5) and (m == RIBBON or constants[m, 7] == 0)
        if away[i]:
            for c in range(3):
                lit[i, c] = 0
                lit[i, 3 + c] = 0
            lit[i, 6] = 0
            lit[i, 7] = 0
            continue
        if constants[m, 7] > 0 and nv < 0:
            nx, ny, nz, nv = -nx, -ny, -nz, -nv
        open_, deep = att[i, 0], 1.0
        if depth_shade[m, 1] > 0:
            t = min(max((rest[i, 2] - depth_shade[m, 0]) / (depth_shade[m, 1] - depth_shade[m, 0]), 0.0), 1.0)
            t = t * t * (3 - 2 * t)
            open_ = open_ * t + depth_shade[m, 2]
            if m == TEETH:  # no light gets straight to the back teeth
                deep = 0.1 + 0.9 * t
        weight, shininess = constants[m, 3], constants[m, 4]
        if m == SKIN:
            weight, shininess = aux[i, 0] * gloss, 12 + 48 * aux[i, 1]
        if m == RIBBON:
            open_ *= 0.35 + 0.65 * att[i, 1]
        sunlit = shadow_at(z_map, in_light[i, 0], in_light[i, 1], in_light[i, 2] - 0.0030, int(constants[m, 6]))
        # tangent frame for the bumps of the skin
        tn = tangent[i, 0] * nx + tangent[i, 1] * ny + tangent[i, 2] * nz
        tx, ty, tz = tangent[i, 0] - tn * nx, tangent[i, 1] - tn * ny, tangent[i, 2] - tn * nz
        s = 1 / math.sqrt(tx * tx + ty * ty + tz * tz + 1e-9)
        tx, ty, tz = tx * s, ty * s, tz * s
        bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
        d0 = d1 = d2 = q0 = q1 = q2 = 0.0
        bump_u = bump_v = 0.0
        for k in range(3):
            lx, ly, lz = directions[k, 0], directions[k, 1], directions[k, 2]
            nl = nx * lx + ny * ly + nz * lz
            reached = sunlit if k == 0 else 1.0
            reach = (open_ * 0.45 + 0.55) * deep if k == 0 else open_
            for c in range(3):
                w = constants[m, c]
                d = min(max((nl + w) / (1 + w), 0.0), 1.0)
                d *= 1 - w + w * d
                d *= (reached + (1 - reached) * w * 0.35) * colours[k, c] * reach
                if c == 0:
                    d0 += d
                elif c == 1:
                    d1 += d
                else:
                    d2 += d
            if nl > -0.1:
                g = colours[k, 1] * reached * reach
                bump_u += g * (tx * lx + ty * ly + tz * lz)
                bump_v += g * (bx * lx + by * ly + bz * lz)
            if nl > 0 and weight > 0:
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                s = 1 / math.sqrt(hx * hx + hy * hy + hz * hz)
                hx, hy, hz = hx * s, hy * s, hz * s
                if m == SHELL or m == RIBBON:
                    e = weight * strand_highlight(nx, nz, hx, hy, hz, shininess)
                else:
                    e = weight * surface_highlight(nx * hx + ny * hy + nz * hz, hx * vx + hy * vy + hz * vz, shininess)
                e *= nl * reached * reach
                q0 += e * colours[k, 0]
                q1 += e * colours[k, 1]
                q2 += e * colours[k, 2]
        up = ny * 0.5 + 0.5
        fresnel = 1 - max(nv, 0.0)
        fresnel *= fresnel
        mirror = min(max((2 * nv * ny - vy + 0.3) / 0.9, 0.0), 1.0)
        mirror = mirror * mirror * (3 - 2 * mirror)
        e = weight * (0.045 + 0.3 * fresnel * fresnel) * open_ * constants[m, 5]
        lit[i, 0] = d0 + (ground[0] + (sky[0] - ground[0]) * up) * open_
        lit[i, 1] = d1 + (ground[1] + (sky[1] - ground[1]) * up) * open_
        lit[i, 2] = d2 + (ground[2] + (sky[2] - ground[2]) * up) * open_
        lit[i, 3] = q0 + e * (ground[0] + (sky[0] - ground[0]) * mirror)
        lit[i, 4] = q1 + e * (ground[1] + (sky[1] - ground[1]) * mirror)
        lit[i, 5] = q2 + e * (ground[2] + (sky[2] - ground[2]) * mirror)
        s = 1 / (lit[i, 1] + 1e-3)
        lit[i, 6] = bump_u * s
        lit[i, 7] = (bump_v + 0.5 * (sky[1] - ground[1]) * by * open_) * s
