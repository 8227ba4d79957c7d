"""Parts of sentences that speech is put together from."""

from __future__ import annotations

import numpy as np

from latentsync.training.datasets.pieces import PIECE, draw_pieces


def test_parts_lie_inside_their_clips_and_are_long_enough_together() -> None:
    lengths = [18, 30, 200]
    drawn = draw_pieces(lengths, 1000, np.random.default_rng(3))
    assert all(0 <= first <= lengths[number] - length for number, first, length in drawn)
    assert all(PIECE[0] <= length <= PIECE[1] for _, _, length in drawn)
    assert {number for number, _, _ in drawn} == {0, 1, 2}
    assert 1000 <= sum(length for _, _, length in drawn) < 1000 + PIECE[1]
    assert drawn == draw_pieces(lengths, 1000, np.random.default_rng(3))
    assert draw_pieces(lengths, 0, np.random.default_rng(3)) == []
