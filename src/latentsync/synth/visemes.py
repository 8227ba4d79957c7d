"""Phones to articulators (dominance blending, after Cohen and Massaro 1993) to face shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.synth.speech.phones import CLOSED, LIP_TO_TEETH, SILENCE, Phone

Track = NDArray[np.float64]

CHANNELS = (
    "jaw",
    "close",
    "lip_teeth",
    "round",
    "funnel",
    "spread",
    "upper",
    "lower",
    "tip",
    "forward",
    "back",
    "press",
)
"""Articulators: jaw drop; lips meet; lower lip to the upper teeth; rounding; funnelled lips; spread lips; upper lip
raised; lower lip dropped; tongue tip up, tongue forward, tongue body up; lips pressed together."""

TARGETS: dict[str, dict[str, float]] = {
    SILENCE: dict(jaw=0.01),
    "p": dict(jaw=0.06, close=1, press=0.5),
    "b": dict(jaw=0.06, close=1, press=0.4),
    "m": dict(jaw=0.06, close=1, press=0.3),
    "f": dict(jaw=0.07, lip_teeth=1, upper=0.3),
    "v": dict(jaw=0.07, lip_teeth=0.9, upper=0.25),
    "th": dict(jaw=0.12, tip=0.5, forward=1, lower=0.25),
    "dh": dict(jaw=0.12, tip=0.5, forward=0.9, lower=0.25),
    "t": dict(jaw=0.10, tip=1, spread=0.15, lower=0.25, upper=0.1),
    "d": dict(jaw=0.11, tip=1, spread=0.12, lower=0.25, upper=0.1),
    "n": dict(jaw=0.11, tip=1, spread=0.1, lower=0.2),
    "l": dict(jaw=0.16, tip=1, lower=0.2),
    "s": dict(jaw=0.035, tip=0.5, spread=0.35, lower=0.4, upper=0.25),
    "z": dict(jaw=0.035, tip=0.5, spread=0.33, lower=0.38, upper=0.22),
    "sh": dict(jaw=0.05, funnel=0.75, round=0.25, upper=0.25, lower=0.35, tip=0.3),
    "zh": dict(jaw=0.05, funnel=0.7, round=0.25, upper=0.2, lower=0.3, tip=0.3),
    "ch": dict(jaw=0.05, funnel=0.7, round=0.2, upper=0.2, lower=0.3, tip=0.6),
    "jh": dict(jaw=0.06, funnel=0.65, round=0.2, upper=0.2, lower=0.3, tip=0.6),
    "k": dict(jaw=0.14, back=0.7),
    "g": dict(jaw=0.14, back=0.7),
    "ng": dict(jaw=0.14, back=0.6),
    "r": dict(jaw=0.10, funnel=0.35, round=0.40, back=0.2),
    "er": dict(jaw=0.15, funnel=0.3, round=0.3, back=0.2),
    "w": dict(jaw=0.05, round=1, funnel=0.15),
    "y": dict(jaw=0.08, spread=0.35, back=0.4),
    "hh": dict(jaw=0.12),
    "iy": dict(jaw=0.10, spread=0.55, lower=0.25, upper=0.12, back=0.4),
    "ih": dict(jaw=0.17, spread=0.3, lower=0.2, back=0.2),
    "eh": dict(jaw=0.27, spread=0.28, lower=0.25, upper=0.1),
    "ae": dict(jaw=0.40, spread=0.35, lower=0.3, upper=0.2),
    "ah": dict(jaw=0.28, lower=0.15),
    "aa": dict(jaw=0.46, lower=0.2, upper=0.08),
    "ao": dict(jaw=0.36, funnel=0.4, round=0.2),
    "uh": dict(jaw=0.16, round=0.4, funnel=0.2),
    "uw": dict(jaw=0.09, round=0.85, funnel=0.25),
}
"""Articulator targets in [0, 1], chosen by eye against the face shapes."""

DIPHTHONGS = {"ey": ("eh", "iy"), "ay": ("aa", "iy"), "oy": ("ao", "iy"), "aw": ("aa", "uw"), "ow": ("ao", "uw")}

DEFINES = {
    "close": set(CLOSED),
    "lip_teeth": set(LIP_TO_TEETH),
    "round": {"w", "uw", "ow", "r", "sh", "ch", "jh", "zh", "ao", "uh"},
    "funnel": {"sh", "ch", "jh", "zh", "r", "ao"},
    "tip": {"t", "d", "n", "l", "s", "z", "th", "dh"},
    "forward": {"th", "dh"},
    "jaw": {"s", "z", "sh", "ch", "jh", "zh", "aa", "ae", "ao", *CLOSED, *LIP_TO_TEETH},
}
"""Phones that impose a channel on their neighbours."""
RATES = dict(
    jaw=15,
    close=38,
    lip_teeth=30,
    round=13,
    funnel=15,
    spread=14,
    upper=18,
    lower=18,
    tip=28,
    forward=30,
    back=18,
    press=34,
)
"""How fast the influence of a phone on a channel falls off, per second."""


@dataclass(frozen=True, kw_only=True)
class SpeakingStyle:
    """How a person moves the mouth: factors around 1; `asymmetry`, `smile` and `frown` around 0."""

    amplitude: float = 1.0
    jaw: float = 1.0
    sharpness: float = 1.0
    asymmetry: float = 0.0
    smile: float = 0.0
    frown: float = 0.0

    @staticmethod
    def sample(rng: np.random.Generator) -> SpeakingStyle:
        return SpeakingStyle(
            amplitude=float(rng.uniform(0.85, 1.2)),
            jaw=float(rng.uniform(0.75, 1.15)),
            sharpness=float(rng.uniform(0.85, 1.2)),
            asymmetry=float(rng.normal(0, 0.08)),
            smile=max(float(rng.normal(0.02, 0.10)), 0.0),
            frown=max(float(rng.normal(-0.05, 0.1)), 0.0),
        )


def _segments(phones: Sequence[Phone]) -> list[Phone]:
    """Diphthongs as two halves."""
    out = []
    for p in phones:
        if p.name in DIPHTHONGS:
            first, second = DIPHTHONGS[p.name]
            out += [Phone(first, p.start_s, p.centre_s), Phone(second, p.centre_s, p.end_s)]
        else:
            out.append(p)
    return out


def articulate(phones: Sequence[Phone], times_s: Track, style: SpeakingStyle) -> dict[str, Track]:
    """Articulator values (F,) at the given times.

    Each phone has a flat influence over the middle 55 % of its length and exponential skirts; anticipation reaches a
    little further than carry-over. Closure for p, b, m and lip-to-teeth for f, v is then enforced at the centre,
    whatever the neighbours are (30 ms Gaussian skirts).
    """
    segments = _segments(phones) or [Phone(SILENCE, 0, max(float(times_s[-1]), 0.1))]
    centre = np.array([p.centre_s for p in segments])[:, None]
    half = np.array([(p.end_s - p.start_s) / 2 for p in segments])[:, None]
    tau = times_s[None] - centre
    outside = np.maximum(np.abs(tau) - half * 0.55, 0) * np.where(tau < 0, 0.85, 1.0)
    out = {}
    for channel in CHANNELS:
        target = np.array([TARGETS[p.name].get(channel, 0.0) for p in segments])[:, None]
        height = np.array([_dominance(channel, p.name) for p in segments])[:, None]
        weight = height * np.exp(-((RATES[channel] * style.sharpness * outside) ** 1.15)) + 1e-9
        out[channel] = (weight * target).sum(0) / weight.sum(0)
    for channel, names in (("close", CLOSED), ("lip_teeth", LIP_TO_TEETH)):
        for p in segments:
            if p.name in names:
                edge = np.maximum(np.abs(times_s - p.centre_s) - max((p.end_s - p.start_s) * 0.30, 0.012), 0)
                out[channel] = np.maximum(out[channel], np.exp(-((edge / 0.030) ** 2)))
    return out


def _dominance(channel: str, phone: str) -> float:
    if phone in DEFINES.get(channel, ()):
        return 3.2
    return 0.9 if phone == SILENCE else (0.55 if phone in ("k", "g", "ng", "hh") else 1.0)


def mouth_shapes(a: dict[str, Track], style: SpeakingStyle) -> tuple[dict[str, Track], dict[str, Track]]:
    """Face shapes (ARKit names) and tongue lifts in cm ("up", "forward", "back") from articulator tracks (F,)."""
    amp = style.amplitude
    closed = np.clip(a["close"], 0, 1)
    bite, free = np.clip(a["lip_teeth"], 0, 1) * (1 - closed), 1 - closed
    jaw = np.clip(a["jaw"] * style.jaw, 0, 0.75) * (1 - 0.35 * bite)
    rest = np.clip(1 - jaw / 0.05, 0, 1)
    w: dict[str, Track] = {"jawOpen": jaw, "mouthClose": jaw * closed * 0.98}
    for side, sign in (("L", 1), ("R", -1)):
        m = 1 + style.asymmetry * sign
        upper = a["upper"] * 1.5 * amp + 0.22 * free * np.clip(jaw / 0.2, 0, 1) + 0.25 * bite
        w[f"mouthPress_{side}"] = np.clip(a["press"] * 0.9 * amp, 0, 1) * closed + 0.05 * rest
        w[f"mouthStretch_{side}"] = a["spread"] * 0.55 * amp * m
        w[f"mouthSmile_{side}"] = (a["spread"] * 0.30 * amp + style.smile) * m
        w[f"mouthFrown_{side}"] = np.full_like(jaw, style.frown)
        w[f"mouthUpperUp_{side}"] = np.clip(upper, 0, 1) * free * m * 0.8
        w[f"mouthLowerDown_{side}"] = np.clip(a["lower"] * 1.0 * amp, 0, 0.5) * free * (1 - bite) * m
    w["mouthRollLower"] = 0.32 * closed * a["press"] + 0.62 * bite
    w["mouthRollUpper"] = 0.24 * closed * a["press"]
    w["mouthPucker"] = np.clip(a["round"] * 0.80 * amp, 0, 1)
    w["mouthFunnel"] = np.clip(a["funnel"] * 0.85 * amp, 0, 1) * (1 - 0.6 * closed)
    w["mouthShrugLower"] = 0.22 * bite
    return w, {"up": a["tip"], "forward": a["forward"] * 0.95 - 0.15, "back": a["back"] * 0.8}
