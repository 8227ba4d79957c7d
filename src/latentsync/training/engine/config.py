"""How a run is trained: every setting of the loop, checked before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from latentsync.core.errors import ConfigError

Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The loop's settings; written `loop.NAME` in `--set`, and under `loop:` in a preset. Give `steps` or `minutes`.

    Attributes:
        batch_size: examples of one step, over all processes and all parts of an accumulated step.
        accumulation: parts in which each process goes through its share of a step, to save memory.
        steps: length of the run, optimiser steps.
        minutes: length of the run, wall-clock minutes over all sittings; the schedule follows the clock.
        learning_rate: peak of AdamW's; an objective scales it by its `learning_rate_scale`.
        schedule: after the warm-up the rate is constant, or falls as a half cosine to `final_rate` of the peak.
        final_rate: share of the peak at the end of the cosine.
        warmup_steps: over which the rate rises linearly.
        weight_decay, betas: AdamW's.
        clip_norm: largest norm of the gradient of one objective; None = not clipped.
        ema: decay of the averaged weights, eased in over the first steps; None = the last weights are used.
        precision: of the forward pass; weights, gradients and averages stay float32.
        compile: compile the networks' forward passes with torch.compile; minutes at the first step, then faster.
            Validation runs as it is written.
        gradient_checkpointing: keep fewer activations and compute them again, in networks that can.
        unused_parameters: some parameters get no gradient in some steps (asked for by several processes alone).
        save_every_s: seconds between full states on disk.
        keep_states: states kept, the newest ones.
        snapshot_every: steps between copies in memory (up to 1 GiB) to roll back to; None = states on disk alone.
        max_rollbacks: of a run, until it gives up.
        validate_every: steps between validations; None = by `validate_every_s` and at the end alone.
        validate_every_s: seconds between validations; None = by steps alone.
        log_every: steps that are averaged into one line of figures.
        tensorboard: also write TensorBoard files where it is installed.
        seed: of everything drawn in the run.
        workers: loader processes of each process; None = examples are made in the training process.
    """

    batch_size: int = 16
    accumulation: int = 1
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 1e-4
    schedule: Schedule = "cosine"
    final_rate: float = 0.1
    warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = 1.0
    ema: float | None = 0.999
    precision: Precision = "float32"
    compile: bool = False
    gradient_checkpointing: bool = False
    unused_parameters: bool = False
    save_every_s: float = 300.0
    keep_states: int = 2
    snapshot_every: int | None = 200
    max_rollbacks: int = 3
    validate_every: int | None = None
    validate_every_s: float | None = 600.0
    log_every: int = 20
    tensorboard: bool = True
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            fix = "give loop.steps or loop.minutes (--minutes)" if self.steps is None else "give one of steps, minutes"
            raise ConfigError("loop.steps", self.steps, fix)
        for name in ("batch_size", "accumulation", "steps", "keep_states", "snapshot_every", "log_every", "workers"):
            self._demand(name, lambda v: v >= 1, "choose 1 or more")
        self._demand("validate_every", lambda v: v >= 1, "choose 1 or more")
        for name in ("minutes", "learning_rate", "clip_norm", "save_every_s", "validate_every_s"):
            self._demand(name, lambda v: v > 0 and math.isfinite(v), "choose a number above 0")
        for name in ("warmup_steps", "weight_decay", "max_rollbacks", "seed"):
            self._demand(name, lambda v: v >= 0, "choose 0 or more")
        self._demand("final_rate", lambda v: 0 <= v <= 1, "choose a share of the peak, 0 to 1")
        self._demand("ema", lambda v: 0 < v < 1, "choose a decay between 0 and 1, like 0.999, or null for none")
        self._demand("betas", lambda v: all(0 <= b < 1 for b in v), "choose two numbers from 0 to below 1")
        if self.batch_size % self.accumulation:
            raise ConfigError("loop.accumulation", self.accumulation, f"choose a divisor of {self.batch_size} examples")

    def _demand(self, name: str, holds: Any, fix: str) -> None:
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise ConfigError(f"loop.{name}", value, fix)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeConfig:
    """A short run that shows that the data and settings can be learnt from at all; `smoke:` in a preset.

    Attributes:
        steps: its length.
        score: what the task's score must reach.
    """

    steps: int
    score: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("smoke.steps", self.steps, "choose 1 or more")
