"""Global random numbers as a function of the step, so that there is no generator state to store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_all(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (all devices) from whole numbers ≥ 0.

    Noise is drawn from the examples' own seeds; this is for what cannot be known, like dropout.
    """
    words = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]))
    torch.manual_seed(int(words[0]) << 31 ^ int(words[1]))


@contextmanager
def caller_keeps_randomness() -> Iterator[None]:
    """The caller's global generators are afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(enabled=True):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
