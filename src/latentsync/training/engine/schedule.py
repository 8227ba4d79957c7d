"""The learning rate over a run, as a share of its peak."""

from __future__ import annotations

import math

from latentsync.training.engine.config import TrainConfig


def done_share(config: TrainConfig, step: int, spent_s: float) -> float:
    """How much of the run lies behind, 0 to 1: by steps, or by the clock where the run is given in minutes."""
    if config.steps is not None:
        return min(1.0, step / config.steps)
    assert config.minutes is not None
    return min(1.0, spent_s / (60 * config.minutes))


def rate_share(config: TrainConfig, step: int, spent_s: float) -> float:
    """Share of the peak rate for the step after `step` finished ones: warm-up times a half cosine, or times 1."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warm
    done = done_share(config, step, spent_s)
    return warm * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))
