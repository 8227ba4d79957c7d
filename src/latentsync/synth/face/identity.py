"""Who a synthetic person is: one seed → shape weights, skin, hair, clothes. No two seeds give the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from latentsync.synth.arrays import Real

Style = Literal["short", "crop", "side", "bald", "afro", "back", "long", "bob"]
Hat = Literal["none", "beanie", "cap", "brim", "scarf"]
RGB = tuple[float, float, float]

HAIR_COLOURS: tuple[RGB, ...] = (
    (0.045, 0.035, 0.03),
    (0.09, 0.06, 0.045),
    (0.17, 0.10, 0.065),
    (0.26, 0.16, 0.09),
    (0.42, 0.28, 0.15),
    (0.62, 0.47, 0.27),
    (0.40, 0.16, 0.07),
    (0.55, 0.54, 0.53),
    (0.78, 0.77, 0.75),
)
IRIS_COLOURS: tuple[RGB, ...] = (
    (0.22, 0.13, 0.07),
    (0.30, 0.18, 0.09),
    (0.40, 0.27, 0.13),
    (0.35, 0.38, 0.20),
    (0.30, 0.42, 0.52),
    (0.45, 0.55, 0.62),
    (0.38, 0.40, 0.40),
)


@dataclass(frozen=True, kw_only=True)
class Hairline:
    """Where hair begins, as heights in cm: forehead, temple recess, side and nape."""

    forehead: float
    temple: float
    side: float
    nape: float


@dataclass(frozen=True, kw_only=True)
class Brows:
    """Eyebrows, in pixels of a 1,024-pixel face texture."""

    drop: float
    density: float
    width: float
    length: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Lips:
    """Colour strength, multiplicative tint and gloss of the lips."""

    amount: float
    tint: RGB
    gloss: float


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All choices about one person. Amounts are in [0, 1] unless said otherwise; colours are display RGB in [0, 1].

    Attributes:
        shape: identity-mode weights, unit variance.
        masculine: drives hair, brows, stubble and the voice (the face model itself has no such axis).
        tone: skin from light (0) to dark (1).
        hat: what covers the head, in its colours hat_rgb and hat2_rgb.
        glasses: 0 = none, else the frame's thickness in cm.
    """

    seed: int
    shape: tuple[float, ...]
    masculine: bool
    age: float
    tone: float
    style: Style
    hair_rgb: RGB
    hair_length: float
    hairline: Hairline
    scalp: float
    beard: float
    stubble: float
    blush: float
    freckles: float
    makeup: float
    shadow_rgb: RGB
    brows: Brows
    lips: Lips
    iris_rgb: RGB
    teeth_rgb: RGB
    gum_rgb: RGB
    tongue_rgb: RGB
    cloth_rgb: RGB
    cloth2_rgb: RGB
    stripes_per_cm: float
    neckline_cm: float
    shoulder_cm: float
    glasses: float
    glasses_rgb: RGB
    glasses_round: float
    hat: Hat
    hat_rgb: RGB
    hat2_rgb: RGB


def _rgb(values: Real) -> RGB:
    r, g, b = (float(v) for v in np.clip(values, 0, 2))
    return r, g, b


def _style(rng: np.random.Generator, masculine: bool, dark: bool) -> Style:
    if masculine:
        options: list[Style] = ["short", "crop", "side", "bald", "afro" if dark else "side", "back", "short"]
    else:
        options = ["long", "bob", "long", "back", "afro" if dark else "long", "side", "bob"]
    return options[int(rng.integers(len(options)))]


def _hat(rng: np.random.Generator, masculine: bool) -> Hat:
    """One person in six wears something on the head."""
    options: list[Hat] = ["beanie", "cap", "brim"] if masculine else ["beanie", "cap", "brim", "scarf", "scarf"]
    wears, which = rng.random() < 1 / 6, int(rng.integers(len(options)))
    return options[which] if wears else "none"


def _cloth_rgb(rng: np.random.Generator) -> RGB:
    """Grey, or a colour of some saturation."""
    return _rgb(rng.uniform(0.05, 0.8) * (1 + rng.uniform(0, 0.75) * rng.uniform(-1, 0.4, 3)))


def _hair_rgb(rng: np.random.Generator, tone: float, age: float) -> RGB:
    i = int(rng.integers(0, 3)) if tone > 0.45 else int(rng.integers(0, 7))
    if age > 0.66 and rng.random() < 0.6:
        i = int(rng.integers(7, 9))
    return _rgb(np.array(HAIR_COLOURS[i]) * rng.uniform(0.8, 1.2, 3) ** 0.5)


def sample_identity(seed: int, num_modes: int = 100) -> Identity:
    """Draw a person. The same seed always gives the same person, whatever is drawn for the clips."""
    rng = np.random.default_rng([seed, 0x1D])
    masculine = bool(rng.random() < 0.5)
    age, tone = float(rng.beta(1.6, 2.2)), float(rng.beta(1.1, 1.3))
    shape = np.clip(rng.normal(size=num_modes) * 0.95, -2.2, 2.2)
    shape[40:] *= 0.7
    style = _style(rng, masculine, tone > 0.6)
    beard = float(rng.uniform(0.4, 1)) if masculine and rng.random() < 0.35 else 0.0
    makeup = float(rng.uniform(0.2, 0.8)) if not masculine and rng.random() < 0.6 else 0.0
    tint = rng.uniform([0.97, 0.66, 0.72], [1.10, 0.95, 0.98]) if makeup else np.ones(3)
    return Identity(
        seed=seed,
        shape=tuple(float(w) for w in shape),
        masculine=masculine,
        age=age,
        tone=tone,
        style=style,
        hair_rgb=_hair_rgb(rng, tone, age),
        hair_length=float(rng.random()),
        hairline=Hairline(
            forehead=float(rng.uniform(9.6, 11.2) + 0.6 * masculine * age),
            temple=float(rng.uniform(0.2, 1.6) * masculine),
            side=float(rng.uniform(0.5, 3.0)),
            nape=float(rng.uniform(-7, -5)),
        ),
        scalp=(0.0 if rng.random() < 0.5 else 0.55) if style == "bald" else 1.0,
        beard=beard,
        stubble=1.0 if beard else float(masculine * rng.choice([0.05, 0.15, 0.3, 0.5])),
        blush=float(rng.uniform(0.3, 1.0) * (1 - 0.4 * tone)),
        freckles=float(rng.uniform(0.3, 1)) if rng.random() < 0.25 and tone < 0.4 else 0.0,
        makeup=makeup,
        shadow_rgb=_rgb(rng.uniform(0.15, 0.6, 3) * [1, 0.7, 0.8]),
        brows=Brows(
            drop=float(rng.uniform(6, 13)),
            density=float(rng.uniform(0.6, 1.3) * (1 if masculine else 0.75)),
            width=float(rng.uniform(15, 22) if masculine else rng.uniform(8, 14)),
            length=float(rng.uniform(14, 22) if masculine else rng.uniform(10, 16)),
            alpha=float(rng.uniform(0.7, 0.95)),
        ),
        lips=Lips(
            amount=float(rng.uniform(0.5, 0.9)),
            tint=_rgb(tint),
            gloss=float(makeup * rng.random() + 0.15 * rng.random()),
        ),
        iris_rgb=IRIS_COLOURS[int(rng.integers(0, 3 if tone > 0.5 else len(IRIS_COLOURS)))],
        teeth_rgb=_rgb(np.array([0.94, 0.88, 0.79]) * rng.uniform(0.86, 1.04) * [1, 1, rng.uniform(0.88, 1.06)]),
        gum_rgb=_rgb(np.array([0.62, 0.32, 0.32]) * rng.uniform(0.7, 1.1)),
        tongue_rgb=_rgb(np.array([0.68, 0.36, 0.36]) * rng.uniform(0.8, 1.1)),
        cloth_rgb=_rgb(rng.uniform(0.03, 0.75, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0.03, 0.9))),
        cloth2_rgb=_rgb(rng.uniform(0.05, 0.8, 3)),
        stripes_per_cm=float(rng.choice([0, 0, 0, 0.35, 0.8])),
        neckline_cm=float(rng.uniform(-14.2, -12.5)),
        shoulder_cm=float(rng.uniform(18, 21) + 2.5 * masculine),
        glasses=float(rng.uniform(0.10, 0.28)) if rng.random() < 0.2 else 0.0,
        glasses_rgb=_rgb(rng.uniform(0.02, 0.35) * rng.uniform(0.5, 1, 3)),
        glasses_round=float(rng.uniform(2.2, 6.0)),
        hat=_hat(rng, masculine),
        hat_rgb=_cloth_rgb(rng),
        hat2_rgb=_cloth_rgb(rng),
    )
