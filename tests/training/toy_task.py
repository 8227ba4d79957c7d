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

from latentsync.training.task import Batch, Findings, Objective, noise_like, rng_of

SLOPE = (2.0, -1.0, 0.5)


class Fit(Objective):
    """Squared error and, for its own sake, a term with noise drawn from the examples' seeds."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        noise = 0.01 * noise_like(batch["seed"], (3,)).to(batch["x"].device)
        made = self.network(batch["x"] + noise)
        return {"fit": functional.mse_loss(made, batch["y"]), "size": 1e-4 * made.square().mean()}


class Toy:
    """Settings: `width` of the hidden layer; `nan_at`: number of an example that is not a number; `dropout`."""

    name = "toy"
    score = ("val/error", False)

    def __init__(self, settings: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings, self.seed = dict(settings or {}), seed
        torch.manual_seed(seed)
        width = self.settings.get("width", 8)
        drop = nn.Dropout(self.settings.get("dropout", 0.0))
        network = nn.Sequential(nn.Linear(3, width), nn.Tanh(), drop, nn.Linear(width, 1))
        self.objectives: Sequence[Objective] = [Fit(network)]
        self.judged = 0

    def example(self, number: int) -> dict[str, Tensor]:
        x = torch.from_numpy(rng_of(self.seed, number).uniform(-1, 1, 3).astype(np.float32))
        y = (x * torch.tensor(SLOPE)).sum()[None]
        if number == self.settings.get("nan_at"):
            y = y * float("nan")
        return {"x": x, "y": y, "seed": torch.tensor(number)}

    def validate(self, network: nn.Module) -> Findings:
        assert not network.training
        self.judged += 1
        x = torch.randn(256, 3, generator=torch.Generator().manual_seed(9))
        error = functional.l1_loss(network(x), (x * torch.tensor(SLOPE)).sum(1, keepdim=True))
        grey = np.full((4, 32, 32, 3), 90, np.uint8)
        warnings = ["the error is large; train longer"] if error > 0.5 else []
        return Findings(
            figures={"val/error": float(error)}, warnings=warnings, pictures={"val/grey": grey[0]}, clips={"grey": grey}
        )

    def export(self, network: nn.Module, folder: Path) -> None:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"width": self.settings.get("width", 8)}))


def build(settings: Mapping[str, Any], data: Sequence[Path], *, start: Path | None, seed: int) -> Toy:
    """As the command line asks for it. Dotted names find it: `latentsync train toys.line`."""
    return Toy(settings, seed)
