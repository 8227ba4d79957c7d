"""What the loop asks of a task, and nothing more: examples by number, objectives to minimise, a way to be judged.

The loop knows no network. A task knows no optimiser, no device count and no file of the loop's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Tensors with the examples along their first axis. `seed` (B,) int64 is always there: all noise is drawn from it."""


class Objective(nn.Module):
    """A network and what is minimised to train it: `forward(batch)` returns named scalars, whose sum is the loss.

    Wrapped as a whole for several processes, hence one forward. Networks that are only consulted are kept out of
    `parameters()` by `consult`. All randomness comes from `batch["seed"]` (`noise_like`), so that a step is the same
    whatever ran before it and however many processes share it.

    Attributes:
        network: what is trained, averaged, saved and exported.
        learning_rate_scale: times the configured learning rate; a discriminator may want another one than the
            generator.
        slower: beginnings of names of parameters → times that rate, for parts that have learnt before.
    """

    learning_rate_scale: float = 1.0
    slower: Mapping[str, float] = {}

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._consulted: dict[str, nn.Module] = {}

    def consult(self, name: str, module: nn.Module) -> None:
        """Keep a frozen network (evaluation mode, no gradients of its own) that follows this one to its device."""
        self._consulted[name] = module.eval().requires_grad_(False)

    def consulted(self, name: str) -> nn.Module:
        """A network given to `consult`."""
        return self._consulted[name]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for module in self._consulted.values():
            module._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationResult:
    """What a validation found.

    Attributes:
        figures: name (`val/offset_accuracy`) → value.
        warnings: plain sentences: what looks wrong, and what would mend it.
        pictures: name → (H, W, 3) uint8; each is written as a PNG beside the log.
        clips: name → (F, H, W, 3) uint8 at 25 fps; each is written as a short video.
    """

    figures: Mapping[str, float]
    warnings: Sequence[str] = ()
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    clips: Mapping[str, np.ndarray] = field(default_factory=dict)


class Task(Protocol):
    """One kind of training.

    Attributes:
        name: `autoencoder`, `audio_encoder`, `syncnet` or `unet`.
        objectives: trained in this order on every batch. The first one's network is what `export` writes; further ones
            (a discriminator) help to train it. Objectives of one task may share state through the task.
        score: the figure of `validate` by which `--smoke` and the best checkpoint are judged; is more better?
    """

    name: str
    objectives: Sequence[Objective]
    score: tuple[str, bool]

    def example(self, number: int) -> dict[str, Tensor]:
        """Training example `number`, a pure function of (the task's data and settings, number): endless, in any order.

        Example n of a run is `example(n)`; step k of a run with B examples a step sees k·B … k·B + B − 1, split among
        the processes. Includes `seed`, an int64 scalar. Called from loader workers.
        """
        ...

    def validate(self, network: nn.Module) -> ValidationResult:
        """Judge a network (averaged weights, evaluation mode) on held-out people; deterministic."""
        ...

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write the component (`config.json`, `model.safetensors`) that the pipeline or the next task loads."""
        ...


def rng_of(seed: int, number: int, *more: int) -> np.random.Generator:
    """The generator of example `number` of a run with this seed. Independent streams for different arguments."""
    return np.random.default_rng([seed, number, *more])
