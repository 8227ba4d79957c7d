"""The smallest task: a two-layer network learns a line from numbered points; real code of the loop around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from latentsync.diffusion.noise import noise_like
from latentsync.training.engine.task import Batch, Objective, ValidationResult, rng_of

SLOPE = (2.0, -1.0, 0.5)


class Fit(Objective):
    """Squared error on inputs with noise from the examples' seeds, and a term with an infinite slope in a trap."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        noise = 0.01 * noise_like(batch["seed"], (3,)).to(batch["x"].device)
        made = self.network(batch["x"] + noise)
        is_free = 1 - batch["trap"].max()
        return {"fit": functional.mse_loss(made, batch["y"]), "trap": (made.square().mean() * 0 + is_free).sqrt()}


class Toy:
    """Settings: `width` of the hidden layer; `dropout`; `nan_at`, `trap_at`: number of an example that is not a number,
    or whose gradient is not finite (−1: every one)."""

    name = "toy"
    score = ("val/error", False)

    def __init__(self, settings: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings, self.seed = dict(settings or {}), seed
        torch.manual_seed(seed)
        width = self.settings.get("width", 8)
        drop = nn.Dropout(self.settings.get("dropout", 0.0))
        network = nn.Sequential(nn.Linear(3, width), nn.Tanh(), drop, nn.Linear(width, 1))
        self.objectives: Sequence[Objective] = [Fit(network)]

    def example(self, number: int) -> dict[str, Tensor]:
        x = torch.from_numpy(rng_of(self.seed, number).uniform(-1, 1, 3).astype(np.float32))
        y = (x * torch.tensor(SLOPE)).sum()[None]
        if self.settings.get("nan_at") in (number, -1):
            y = y * float("nan")
        trap = torch.tensor(float(self.settings.get("trap_at") in (number, -1)))
        return {"x": x, "y": y, "trap": trap, "seed": torch.tensor(number)}

    def validate(self, network: nn.Module) -> ValidationResult:
        assert not network.training
        x = torch.randn(256, 3, generator=torch.Generator().manual_seed(9))
        error = functional.l1_loss(network(x), (x * torch.tensor(SLOPE)).sum(1, keepdim=True))
        grey = np.full((2, 32, 32, 3), 90, np.uint8) if self.settings.get("pictures") else None
        warnings = ["the error is large; train longer"] if error > 0.5 else []
        pictures, clips = ({}, {}) if grey is None else ({"val/grey": grey[0]}, {"grey": grey})
        return ValidationResult(figures={"val/error": float(error)}, warnings=warnings, pictures=pictures, clips=clips)

    def export(self, network: nn.Module, folder: Path) -> None:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"width": self.settings.get("width", 8)}))


def build(settings: Mapping[str, Any], data: Sequence[Path], *, start: Path | None, seed: int) -> Toy:
    """As the command line asks for it. Dotted names find it: `latentsync train training.toy_task`."""
    return Toy(settings, seed)
