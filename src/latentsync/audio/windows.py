"""Which part of the encoder states each video frame hears."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import torch
from einops import rearrange
from torch import Tensor

from latentsync.core.errors import EmptyAudioError
from latentsync.core.rates import STATE_RATE_HZ
from latentsync.core.time import index_at

"""Encoder states per second: one per two mel steps of 10 ms."""
STATES_BEFORE, STATES_AFTER = 4, 5
"""A frame hears states c − 4 … c + 5: two 25 fps frames before it and two after it (docs/method.md#audio-features)."""
STATES_PER_FRAME = STATES_BEFORE + 1 + STATES_AFTER

Seconds = Fraction | float


def state_at(time_s: Seconds) -> int:
    """Index of the state a time falls into: floor(time · 50).

    A Fraction is taken exactly. A float within a microsecond below a state's start counts as that start, so that
    0.58 (which a float cannot hold) is state 29.
    """
    exact = time_s if isinstance(time_s, Fraction) else Fraction(float(time_s)) + Fraction(1, 1_000_000)
    return index_at(exact, STATE_RATE_HZ)


def window_indices(times_s: Iterable[Seconds], num_states: int) -> Tensor:
    """(F, 10) int64 indices of the states heard at each time, held inside the `num_states` that there are."""
    centres = torch.tensor([state_at(time_s) for time_s in times_s], dtype=torch.int64)
    return (centres[:, None] + torch.arange(-STATES_BEFORE, STATES_AFTER + 1)).clamp(0, num_states - 1)


def frame_windows(states: Tensor, times_s: Iterable[Seconds]) -> Tensor:
    """Cut out the encoder states heard around each frame's exact time.

    Args:
        states: (T, L, D), 50 positions per second, L hidden states of width D each.
        times_s: F times in seconds from the start of the sound: any rate, any order. Before the first and after the
            last position the edge is repeated.
    Returns: (F, 10·L, D), same device and dtype as `states`; tokens run through the L states of a position first.
    Raises: EmptyAudioError: T is 0.
    Source: docs/method.md#audio-features: centre c = floor(50·time), positions c − 4 … c + 5.
    """
    states = torch.as_tensor(states)
    if states.ndim != 3:
        raise ValueError(f"states: shape {tuple(states.shape)}, expected (T, L, D)")
    if states.shape[0] == 0:
        raise EmptyAudioError("there are no audio states; the sound is shorter than 20 ms")
    audio_features = states[window_indices(times_s, states.shape[0]).to(states.device)]
    return rearrange(audio_features, "f k l d -> f (k l) d")


def compatible_num_frames(num_states: int) -> int:
    """Frames at 25 fps that the released tool makes of T states: floor(T / 2) + 2 (docs/method.md#audio-features)."""
    return num_states // 2 + 2


def position_code(num_tokens: int, width: int) -> Tensor:
    """Where a token stands in its window: (num_tokens, width) float32, sines of the place then cosines, within ±1.

    Attention takes tokens as a set. Models whose settings ask for it get this added to every window, so that what comes
    before a frame and what comes after it differ. Frequencies fall from 1 to 1/100 by equal ratios: the window has ten
    places.
    """
    place = torch.arange(num_tokens, dtype=torch.float32)[:, None]
    frequency = 100.0 ** -torch.linspace(0, 1, width // 2)
    return torch.cat([torch.sin(place * frequency), torch.cos(place * frequency)], dim=1)
