"""A short resumable loop: finite checks, clipping, averaged weights, full state on disk every few minutes."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.core.errors import LatentSyncError
from latentsync.core.files import atomic_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how fast to train.

    Attributes:
        minutes: wall-clock budget, counted over all sittings; the learning rate follows it (cosine to a tenth).
        learning_rate: peak of AdamW's.
        warmup_steps: linear warm-up.
        clip_norm: largest gradient norm.
        ema: decay of the averaged weights.
        save_every_s: seconds between states on disk.
        log_every: steps between log lines.
        weight_decay: AdamW's.
    """

    minutes: float
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema: float = 0.995
    save_every_s: float = 150.0
    log_every: int = 20
    weight_decay: float = 0.01


class AveragedWeights:
    """Exponential moving average of a module's floating parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Blend the module's weights in; the decay is eased in over the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)


def train(
    module: nn.Module,
    batches: Iterator[Any],
    loss: Callable[[Any], dict[str, Tensor]],
    out: Path,
    config: LoopConfig,
    validate: Callable[[dict[str, Tensor]], dict[str, float]] | None = None,
    validate_every_s: float = 300.0,
) -> dict[str, Tensor]:
    """Train `module` in place until the time budget is used; resume from `out/state.pt` where it is.

    Args:
        loss: one batch → named terms; their sum is minimised.
        validate: averaged weights → figures, logged to `out/log.jsonl`.

    Returns: the averaged weights.
    Raises: LatentSyncError: a loss or a gradient stopped being finite ten times in a row.
    """
    out.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True
    )
    average = AveragedWeights(module, config.ema)
    step, spent, bad = 0, 0.0, 0
    state_path = out / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        average.shadow = state["average"]
        step, spent = state["step"], state["spent"]
        torch.set_rng_state(state["rng"])
        log.info("resumed at step %d after %.1f min", step, spent / 60)
    started = saved = validated = time.monotonic()
    base = spent
    running: dict[str, float] = {}
    with (out / "log.jsonl").open("a") as log_file:

        def note(figures: dict[str, float]) -> None:
            line = {"step": step, "minutes": round(spent / 60, 2)} | {k: round(v, 5) for k, v in figures.items()}
            log_file.write(json.dumps(line) + "\n")
            log_file.flush()
            log.info("%s", line)

        while spent < config.minutes * 60:
            rate = config.learning_rate * _schedule(step, config.warmup_steps, spent / (config.minutes * 60))
            for group in optimiser.param_groups:
                group["lr"] = rate
            terms = loss(next(batches))
            total = torch.stack([t.float() for t in terms.values()]).sum()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            if not (torch.isfinite(total) and torch.isfinite(norm)):
                bad += 1
                if bad >= 10:
                    raise LatentSyncError(
                        f"step {step}: the loss was not finite ten times in a row; lower the learning rate"
                    )
                continue
            bad = 0
            optimiser.step()
            average.update(module, step)
            step += 1
            for key, term in terms.items():
                running[key] = running.get(key, 0.0) + float(term.detach())
            now = time.monotonic()
            spent = base + now - started
            if step % config.log_every == 0:
                note({k: v / config.log_every for k, v in running.items()} | {"lr": rate, "grad": float(norm)})
                running = {}
            if validate and now - validated > validate_every_s:
                note(validate(average.shadow))
                validated = time.monotonic()
            if now - saved > config.save_every_s:
                _save(state_path, module, optimiser, average, step, spent)
                saved = now
        if validate:
            note(validate(average.shadow))
    _save(state_path, module, optimiser, average, step, spent)
    return average.shadow


def _schedule(step: int, warmup: int, done: float) -> float:
    warm = min(1.0, (step + 1) / max(1, warmup))
    return warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def _save(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedWeights, step: int, spent: float
) -> None:
    state = {
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.shadow,
        "step": step,
        "spent": spent,
        "rng": torch.get_rng_state(),
    }
    with atomic_path(path) as part:
        torch.save(state, part)
