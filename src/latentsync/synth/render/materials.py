"""Materials of the renderer: small integers, so that numba kernels can freeze them, and their lighting constants."""

from __future__ import annotations

import numpy as np

from latentsync.core.values import Float

SKIN, GUM, TEETH, IRIS, CORNEA, OCCLUSION, SHELL, RIBBON, CLOTH, LASH, SCALP, TONGUE, SOCKET, RIGID, HAND, FABRIC = (
    range(16)
)
NUM_MATERIALS = 16
"""HAND and FABRIC carry their linear colour at each vertex, in att[:, 1:4]."""

FILMS = (CORNEA, OCCLUSION, LASH)
"""Materials that are blended over the finished picture instead of hiding what is behind them."""

LIGHT = np.zeros((NUM_MATERIALS, 8), np.float32)
"""Per material: wrapped-diffuse width for r, g, b (subsurface tint), specular weight, shininess exponent, share of the
ambient reflection, shadow-map taps, 1 = lit from both sides. Chosen by eye on 24 identities under 6 lights."""
LIGHT[SKIN] = LIGHT[SCALP] = [0.34, 0.14, 0.08, 0, 0, 0.55, 5, 0]
LIGHT[GUM] = LIGHT[TONGUE] = LIGHT[SOCKET] = [0.30, 0.12, 0.10, 0.5, 45, 0.55, 1, 1]
LIGHT[TEETH] = [0.40, 0.36, 0.32, 0.45, 60, 0.55, 1, 0]
LIGHT[IRIS] = [0.2, 0.2, 0.2, 0.1, 30, 0.55, 1, 0]
LIGHT[CORNEA] = [0, 0, 0, 1.6, 260, 0.55, 1, 0]
LIGHT[OCCLUSION] = LIGHT[LASH] = [0.2, 0.2, 0.2, 0, 1, 0, 1, 1]
LIGHT[SHELL] = [0.4, 0.4, 0.4, 0.25, 20, 0.1, 1, 0]
LIGHT[RIBBON] = [0.35, 0.35, 0.35, 0.5, 24, 0.1, 1, 1]
LIGHT[CLOTH] = [0.15, 0.15, 0.15, 0.06, 8, 0.55, 5, 1]
LIGHT[HAND] = [0.34, 0.14, 0.08, 0.32, 22, 0.55, 5, 0]
LIGHT[FABRIC] = [0.15, 0.15, 0.15, 0.06, 8, 0.55, 5, 1]
LIGHT[RIGID] = [0.1, 0.1, 0.1, 0.5, 50, 0.6, 1, 1]

DEPTH_SHADE = np.zeros((NUM_MATERIALS, 3), np.float32)
"""Darkening of the mouth's inside: the rest depth z (cm) where light is gone, where it is full, and the floor."""
DEPTH_SHADE[GUM] = [4.5, 10.5, 0.03]
DEPTH_SHADE[TONGUE] = [3.0, 9.2, 0.10]
DEPTH_SHADE[SOCKET] = [5.0, 11.2, 0.02]
DEPTH_SHADE[TEETH] = [6.2, 10.4, 0.04]

CULL = np.array([m in (SKIN, SCALP, TEETH, IRIS, SHELL) for m in range(NUM_MATERIALS)])
"""Materials of which only the front side is drawn."""

FILM_ALPHA = np.zeros(NUM_MATERIALS, np.float32)
FILM_ALPHA[OCCLUSION], FILM_ALPHA[LASH] = 0.8, 0.75


def linear(srgb: object) -> Float:
    """Display colour in [0, 1] to linear light, with the exponent 2 that the tone curve undoes."""
    return np.asarray(srgb, np.float32) ** 2
