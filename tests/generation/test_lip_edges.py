"""The edges of lips in a picture that a mesh misses."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.generation.tiny.lip_edges import edges_found

SKIN, LIP, DARK = (0.75, 0.58, 0.48), (0.72, 0.38, 0.38), (0.15, 0.08, 0.08)


def rings(gap: float = 0.0) -> np.ndarray:
    """(40, 2) two rings as the mesh has them, from corner to corner over the top and back."""
    angle = np.pi - np.linspace(0, 2 * np.pi, 20, endpoint=False)
    around = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    outer, inner = around * (0.14, 0.06 + gap / 2), around * (0.12, gap / 2)
    return (np.concatenate([outer, inner]) + np.array([0.5, 0.66])).astype(np.float32)


def mouth(gap: float = 0.0, side: int = 256) -> np.ndarray:
    """A picture of it: skin, lips, and the dark between them, 2 px high at least."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    x, y = columns - 0.5, np.abs(rows - 0.66)
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = SKIN
    picture[(x / 0.14) ** 2 + (y / (0.06 + gap / 2)) ** 2 < 1] = LIP
    picture[(x / 0.12) ** 2 + (y / max(gap / 2, 1.2 / side)) ** 2 < 1] = DARK
    return picture


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
@pytest.mark.parametrize(("upper", "lower"), [(0, 0), (-4, 3), (5, -6)])
def test_edges_of_an_open_mouth_are_found_each_by_its_own(upper: int, lower: int, kind: type) -> None:
    real = rings(0.08)
    given = real.copy()
    given[[*range(1, 10), *range(21, 30)], 1] += upper / 256
    given[[*range(11, 20), *range(31, 40)], 1] += lower / 256
    picture = mouth(0.08) if kind is np.float32 else np.rint(mouth(0.08) * 255).astype(np.uint8)
    middle = [k for k in range(40) if k % 10]
    away = (edges_found(picture, given) - real)[middle]
    assert np.abs(away).max() < 1.6 / 256


def test_closed_lips_meet_at_the_dark_line() -> None:
    given = rings() + np.float32([0, 4 / 256])
    found = edges_found(mouth(), given)
    np.testing.assert_allclose(found[20:, 1], 0.66, atol=1.6 / 256)
    np.testing.assert_allclose(found[[5, 15], 1], [0.6, 0.72], atol=1.6 / 256)


def test_where_nothing_is_to_be_seen_the_mesh_is_believed() -> None:
    grey = np.full((256, 256, 3), 0.5, np.float32)
    for gap in (0.0, 0.08):
        np.testing.assert_array_equal(edges_found(grey, rings(gap)), rings(gap))
    small = edges_found(mouth(0.08, 64), rings(0.08))
    assert small.shape == (40, 2) and np.abs(small - rings(0.08)).max() < 4 / 256


def test_a_moustache_is_no_line_between_lips() -> None:
    """It is darker than the seam, and begins where the upper lip ends."""
    picture = mouth()
    picture[: round(0.605 * 256)][:, 90:166] = DARK
    given = rings() + np.float32([0, -3 / 256])
    found = edges_found(picture, given)
    assert np.abs(found[20:, 1] - 0.66).max() < 3.6 / 256
