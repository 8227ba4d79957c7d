"""Pictures of a SyncNet's validation: offsets found, and how the figures went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

COLOURS = ((38, 96, 164), (201, 98, 32), (60, 140, 70), (140, 80, 160))
GREY, INK = (225, 225, 225), (60, 60, 60)
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 44, 50
WIDTH, HEIGHT = 720, 400


def offset_histogram(offsets: Mapping[str, np.ndarray], reach: int) -> np.ndarray:
    """Share of clips at each found offset −reach … +reach, one colour for each source: (H, W, 3) uint8."""
    picture = _paper("offset found, frames (0 = in sync)", 0, 1)
    shares = {name: np.bincount(np.asarray(own) + reach, minlength=2 * reach + 1) / max(1, len(own))
              for name, own in offsets.items()}  # fmt: skip
    slot = (WIDTH - LEFT - RIGHT) / (2 * reach + 1)
    for number, share in enumerate(shares.values()):
        bar = slot * 0.8 / len(shares)
        for index, value in enumerate(share):
            x = LEFT + slot * (index + 0.1) + bar * number
            low = HEIGHT - BOTTOM
            corner = (round(x), round(low - value * (low - TOP)))
            cv2.rectangle(picture, corner, (round(x + bar) - 1, low), COLOURS[number % 4], -1)
    for index in range(0, 2 * reach + 1, 5):
        _write(picture, f"{index - reach:+d}", LEFT + slot * (index + 0.5) - 12, HEIGHT - BOTTOM + 18)
    _legend(picture, [f"{name} ({len(own)} clips)" for name, own in offsets.items()])
    return picture


def history_picture(history: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Figures between 0 and 1 of each validation so far, as lines: (H, W, 3) uint8."""
    picture = _paper("validations", 0, 1)
    for number, values in enumerate(history.values()):
        xs = np.linspace(LEFT, WIDTH - RIGHT, max(2, len(values)))[: len(values)]
        ys = HEIGHT - BOTTOM - np.clip(values, 0, 1) * (HEIGHT - BOTTOM - TOP)
        points = np.stack([xs, ys], axis=1).round().astype(np.int32)
        cv2.polylines(picture, [points], False, COLOURS[number % 4], 2, cv2.LINE_AA)
        cv2.circle(picture, tuple(int(v) for v in points[-1]), 4, COLOURS[number % 4], -1, cv2.LINE_AA)
    _legend(picture, [f"{name} {values[-1]:.2f}" for name, values in history.items()])
    return picture


def _paper(label: str, low: float, high: float) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for step in range(5):
        y = round(HEIGHT - BOTTOM - step / 4 * (HEIGHT - BOTTOM - TOP))
        cv2.line(picture, (LEFT, y), (WIDTH - RIGHT, y), GREY, 1)
        _write(picture, f"{low + (high - low) * step / 4:.2f}", 18, y + 4)
    _write(picture, label, LEFT, HEIGHT - 12)
    return picture


def _legend(picture: np.ndarray, names: Sequence[str]) -> None:
    x = LEFT
    for number, name in enumerate(names):
        cv2.rectangle(picture, (x, 14), (x + 12, 26), COLOURS[number % 4], -1)
        _write(picture, name, x + 18, 25)
        x += 36 + 8 * len(name)


def _write(picture: np.ndarray, text: str, x: float, y: float) -> None:
    cv2.putText(picture, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
