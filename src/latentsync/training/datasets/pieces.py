"""Speech put together from parts of sentences: which parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PIECE = (18, 45)
"""Least and greatest length of a part, frames. Whole sentences of one corpus share a rhythm."""


def draw_pieces(lengths: Sequence[int], least: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Draw parts of clips until they are as long as is asked.

    Args:
        lengths: of the clips, frames; each at least `PIECE[0]`.
        least: least length of all parts together, frames; the last part may pass it.
        rng: draws clip, length and start of each part, in this order.
    Returns: number of the clip, first frame and length of each part.
    """
    pieces, total = [], 0
    while total < least:
        number = int(rng.integers(len(lengths)))
        length = int(rng.integers(PIECE[0], min(PIECE[1], lengths[number]) + 1))
        pieces.append((number, int(rng.integers(0, lengths[number] - length + 1)), length))
        total += length
    return pieces
