"""A speaker's adapter: small low-rank matrices beside the frozen layers of a U-Net (Hu et al. 2021), through PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentsync.core.errors import ConfigError
from latentsync.models.unet import UNet
from latentsync.models.weights.adapter import write_adapter

NAME = "speaker"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSettings:
    """Low-rank adapters in place of training the network itself.

    Attributes:
        rank: of the added matrices.
        alpha: the product of the two is added times alpha / rank.
        targets: endings of the names of the Linear and Conv2d layers that get one.
    """

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


def add_adapter(unet: UNet, settings: AdapterSettings, seed: int) -> UNet:
    """Put adapters into a U-Net, in place. They change nothing until they are trained.

    Raises: ConfigError: PEFT is not installed, or no layer has a name with one of the endings.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("task.adapter", settings.rank, 'adapters need: pip install "latentsync[train]"') from error
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.targets))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, unet, adapter_name=NAME)
        except ValueError as error:
            known = "to_q, to_k, to_v, to_out.0, conv1, conv2, ff.net.0.proj, ff.net.2"
            raise ConfigError("task.adapter.targets", list(settings.targets), f"choose from {known}") from error
    return unet


def adapter_matrices(unet: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer name → (down, up) of every adapter in a U-Net."""
    state: dict[str, Tensor] = unet.state_dict()
    ending = f".lora_A.{NAME}.weight"
    return {
        key.removesuffix(ending): (value, state[key.replace(".lora_A.", ".lora_B.")])
        for key, value in state.items()
        if key.endswith(ending)
    }


def save_adapter(unet: Any, path: Path, settings: AdapterSettings, base: str) -> None:
    """Write the adapters of a U-Net as one small file, see `models.weights.adapter`."""
    plain = {key.replace(".base_layer.", "."): value for key, value in unet.state_dict().items()}
    write_adapter(path, adapter_matrices(unet), settings.alpha / settings.rank, unet.config, plain, base)
