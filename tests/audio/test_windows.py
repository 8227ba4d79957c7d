"""Which states a frame hears, at any rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.audio import compatible_num_frames, frame_windows
from latentsync.audio.windows import state_at
from latentsync.core.errors import EmptyAudioError


def numbered(num_states: int, layers: int = 3) -> torch.Tensor:
    """(T, L, 2): every state says its position and its layer."""
    position, layer = torch.meshgrid(torch.arange(num_states), torch.arange(layers), indexing="ij")
    return torch.stack([position, layer], dim=-1).float()


def test_tokens_are_position_major_layer_minor() -> None:
    windows = frame_windows(numbered(100), [Fraction(1)])
    assert windows.shape == (1, 30, 2)
    assert windows[0, :, 0].tolist() == [float(c) for c in range(46, 56) for _ in range(3)]
    assert windows[0, :, 1].tolist() == [0.0, 1.0, 2.0] * 10


def test_edges_are_repeated() -> None:
    times = [Fraction(0), Fraction(19, 50), Fraction(9)]
    first, last, beyond = frame_windows(numbered(20, layers=1), times)[..., 0].tolist()
    assert first == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert last == [15, 16, 17, 18, 19, 19, 19, 19, 19, 19]
    assert beyond == [19] * 10


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(60)])
def test_centre_is_the_state_at_the_exact_time(fps: Fraction) -> None:
    times = [index / fps for index in range(200)]
    centres = frame_windows(numbered(1000, layers=1), times)[:, 4, 0]
    assert centres.tolist() == [index * 50 * fps.denominator // fps.numerator for index in range(200)]


def test_floats_count_as_the_time_they_stand_for() -> None:
    assert [state_at(index / 50) for index in range(2000)] == list(range(2000))
    assert [state_at(time) for time in np.arange(500) / 25] == list(range(0, 1000, 2))
    assert state_at(Fraction(29, 50) - Fraction(1, 10**9)) == 28


def test_variable_rate_in_any_order_keeps_dtype() -> None:
    states = numbered(100, layers=1).to(torch.bfloat16)
    windows = frame_windows(states, [0.5, 0.111, 1.9])
    assert windows.dtype == torch.bfloat16
    assert windows[:, 4, 0].tolist() == [25, 5, 95]
    assert frame_windows(states, []).shape == (0, 10, 2)


@pytest.mark.parametrize(("num_states", "num_frames"), [(10, 7), (499, 251), (500, 252), (501, 252)])
def test_compatible_frame_count(num_states: int, num_frames: int) -> None:
    assert compatible_num_frames(num_states) == num_frames


def test_bad_input_is_refused() -> None:
    with pytest.raises(EmptyAudioError):
        frame_windows(torch.zeros(0, 5, 8), [0.0])
    with pytest.raises(ValueError, match="expected \\(T, L, D\\)"):
        frame_windows(torch.zeros(5, 8), [0.0])
