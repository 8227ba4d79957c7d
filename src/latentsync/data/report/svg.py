"""Histograms and funnels as inline SVG: small, self-contained, readable in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, FLOOR = 360, 130, 104
BINS = 24


def histogram(kept: Sequence[float], rejected: Sequence[float], limits: Sequence[tuple[float, str]], label: str) -> str:
    """Kept (filled) on top of rejected (hatched grey) in equal bins, with a line at each limit.

    Args:
        limits: (value, "min" or "max"); one beyond the data widens the axis, unless it is far off.
    """
    values = sorted(value for value in [*kept, *rejected] if math.isfinite(value))
    if not values:
        return ""
    low, high = values[0], values[-1]
    span = (high - low) or abs(high) or 1.0
    near = [value for value, _ in limits if low - span < value < high + span]
    low, high = min([low, *near]), max([high, *near])
    if low == high:
        low, high = low - 0.5 * span, high + 0.5 * span
    width = (high - low) / BINS

    def count(numbers: Sequence[float]) -> list[int]:
        bins = [0] * BINS
        for value in numbers:
            if math.isfinite(value):
                bins[min(BINS - 1, max(0, int((value - low) / width)))] += 1
        return bins

    good, bad = count(kept), count(rejected)
    top = max(a + b for a, b in zip(good, bad, strict=True)) or 1
    step = (WIDTH - 8) / BINS
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>'
    ]
    for index, (a, b) in enumerate(zip(good, bad, strict=True)):
        x, ya, yb = 4 + index * step, (FLOOR - 14) * a / top, (FLOOR - 14) * b / top
        if a:
            parts.append(_bar("kept", x, FLOOR - ya, step - 1, ya))
        if b:
            parts.append(_bar("out", x, FLOOR - ya - yb, step - 1, yb))
    for value, kind in limits:
        if low <= value <= high:
            x = 4 + (value - low) / (high - low) * (WIDTH - 8)
            parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{FLOOR}"/>')
            parts.append(f'<text x="{min(x + 3, WIDTH - 70):.1f}" y="12">{kind} {value:g}</text>')
    parts.append(f'<line class="axis" x1="4" x2="{WIDTH - 4}" y1="{FLOOR}" y2="{FLOOR}"/>')
    parts.append(f'<text x="4" y="{FLOOR + 14}">{low:.4g}</text>')
    parts.append(f'<text x="{WIDTH - 4}" y="{FLOOR + 14}" text-anchor="end">{high:.4g}</text>')
    return "".join([*parts, "</svg>"])


def funnel(steps: Sequence[tuple[str, int, float]]) -> str:
    """One bar a stage: (name, clips that left it, their seconds)."""
    top = max([count for _, count, _ in steps] or [1]) or 1
    row = 22
    parts = [f'<svg class="wide" viewBox="0 0 760 {row * len(steps) + 4}" role="img" aria-label="funnel">']
    for index, (name, count, seconds) in enumerate(steps):
        y = index * row
        size = 420 * count / top
        parts.append(f'<text x="150" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(_bar("kept", 158, y + 3, max(size, 0.5), row - 6))
        parts.append(f'<text x="{166 + size:.1f}" y="{y + 15}">{count} clips, {seconds / 60:.1f} min</text>')
    return "".join([*parts, "</svg>"])


def _bar(css: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
