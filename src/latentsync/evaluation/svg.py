"""Curves over time as inline SVG: small, self-contained, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, MARGIN = 760, 150, 28


def curves_svg(curves: Sequence[tuple[str, str, np.ndarray]], loudness_db: np.ndarray, rate_hz: int) -> str:
    """Draw curves over the level of the sound.

    Args:
        curves: (css class, label, (G,) values); NaN leaves a gap.
        loudness_db: (G,) level, drawn as bars from the bottom, −60 dB … 0.
        rate_hz: steps a second.
    Returns: an `<svg>` element.
    """
    steps = max([len(loudness_db), *[len(values) for _, _, values in curves], 2])
    finite = [values[np.isfinite(values)] for _, _, values in curves]
    everything = np.concatenate([values for values in finite if len(values)] or [np.zeros(1)])
    low, high = min(0.0, float(everything.min())), max(0.1, float(everything.max()))

    def x(step: float) -> float:
        return MARGIN + (WIDTH - MARGIN - 4) * step / (steps - 1)

    def y(value: float) -> float:
        return 6 + (HEIGHT - MARGIN) * (high - value) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" speaker="img" aria-label="lip opening over time">']
    floor = 6 + HEIGHT - MARGIN
    for step, level in enumerate(loudness_db):
        size = max(0.0, (float(level) + 60) / 60) * (HEIGHT - MARGIN)
        if size > 0.5:
            parts.append(
                f'<rect class="sound" x="{x(step):.1f}" y="{floor - size:.1f}" width="3" height="{size:.1f}"/>'
            )
    for second in range(int(steps / rate_hz) + 1):
        at = x(second * rate_hz)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="6" y2="{floor}"/>')
        parts.append(f'<text x="{at + 2:.1f}" y="{HEIGHT - 6}">{second} s</text>')
    for mark in (0.0, high):
        parts.append(f'<text x="0" y="{y(mark) + 4:.1f}">{mark:.2f}</text>')
    for css, label, values in curves:
        parts += [f'<polyline class="{escape(css)}" points="{line}"/>' for line in _lines(values, x, y)]
        parts.append(f"<title>{escape(label)}</title>")
    return "".join([*parts, "</svg>"])


def _lines(values: np.ndarray, x: object, y: object) -> list[str]:
    lines: list[str] = []
    now: list[str] = []
    for step, value in enumerate([*values, np.nan]):
        if np.isfinite(value):
            now.append(f"{x(step):.1f},{y(float(value)):.1f}")  # type: ignore[operator]
        elif now:
            lines.append(" ".join(now))
            now = []
    return lines
