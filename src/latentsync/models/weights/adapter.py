"""Adapters: low-rank changes of a U-Net in one small file, merged into its weights on loading. Needs no PEFT.

File: safetensors, `<layer>.down` (r, in, …) and `<layer>.up` (out, r, …) per changed layer; metadata `format`,
`version`, `scale`, `base` (name of the model), `unet` (its architecture) and `fingerprint` (which weights).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentsync.config.checked import as_kind
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.reading import parse_json
from latentsync.models.unet import UNet
from latentsync.models.unet_config import UNetConfig
from latentsync.models.weights.checkpoints import require_finite
from latentsync.models.weights.hashing import require_weights

FORMAT, VERSION = "latentsync-adapter", "1"
MARKED = ("conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight", "time_embedding.linear_2.weight")
"""Tensors of the fingerprint; adapters do not change them."""
TOLERANCE = 0.05
"""Largest difference of a fingerprint's number. Storing weights in 16 bits moves it by under 0.01; unrelated weights
differ by about 1."""


@dataclass(frozen=True)
class Adapter:
    """What a file holds: `matrices` layer → (down, up), whose product counts `scale`; `unet` the architecture."""

    path: Path
    matrices: Mapping[str, tuple[Tensor, Tensor]]
    scale: float
    base: str
    unet: UNetConfig
    fingerprint: tuple[float, ...]


def write_adapter(
    path: Path,
    matrices: Mapping[str, tuple[Tensor, Tensor]],
    scale: float,
    config: UNetConfig,
    weights: Mapping[str, Tensor],
    base: str,
) -> None:
    """Write an adapter, whole or not at all.

    Args:
        matrices: layer → (down, up): Linear (r, in), (out, r); Conv2d (r, in, k, k), (out, r, 1, 1).
        scale: of their product.
        weights: of the U-Net it was trained on, for the fingerprint.
        base: name of that model.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for layer, (down, up) in matrices.items():
        tensors |= {f"{layer}.down": down.detach().float().cpu().contiguous()}
        tensors |= {f"{layer}.up": up.detach().float().cpu().contiguous()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "scale": repr(scale),
        "base": base,
        "unet": json.dumps(config.to_mapping()),
        "fingerprint": json.dumps(fingerprint(weights)),
    }
    with atomic_path(path) as part:
        save_file(tensors, part, metadata=metadata)


def read_adapter(path: Path) -> Adapter:
    """Raises: WeightsError: no such file, damaged, or not an adapter."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise WeightsError(f"{path}: is a folder. Give the adapter.safetensors in it")
    require_weights(path, "Give an adapter.safetensors of `latentsync train unet`")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error}). Train or copy it again") from error
    if about.get("format") != FORMAT:
        raise WeightsError(f"{path}: not an adapter but other weights. Pass a model with --model")
    if about.get("version") != VERSION:
        raise WeightsError(f"{path}: adapter version {about.get('version')}, this is for {VERSION}. Update latentsync")
    require_finite(tensors, str(path))
    try:
        return Adapter(
            path=path,
            matrices=_pairs(tensors),
            scale=_number(float(about["scale"])),
            base=about["base"],
            unet=UNetConfig.from_mapping(as_kind("unet", parse_json(about["unet"]), dict)),
            fingerprint=_fingerprint(parse_json(about["fingerprint"])),
        )
    except (KeyError, ValueError, ConfigError) as error:
        raise WeightsError(f"{path}: damaged ({error}). Train or copy it again") from error


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer → (down, up). Raises: KeyError, ValueError: one without the other, or of shapes that make no product."""
    layers = sorted({key.rpartition(".")[0] for key in tensors})
    if extra := [key for key in tensors if key.rpartition(".")[2] not in ("down", "up")]:
        raise ValueError(f"{extra[0]} is neither a layer's down nor its up")
    pairs = {layer: (tensors[f"{layer}.down"], tensors[f"{layer}.up"]) for layer in layers}
    for layer, (down, up) in pairs.items():
        kinds = {down.is_floating_point(), up.is_floating_point(), down.ndim in (2, 4), down.ndim == up.ndim}
        if kinds != {True} or not down.shape[0] or up.flatten(1).shape[1] != down.shape[0]:
            raise ValueError(f"{layer}: {tuple(up.shape)} and {tuple(down.shape)} are no low-rank change")
    return pairs


def _fingerprint(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != len(MARKED):
        raise ValueError(f"its fingerprint is not {len(MARKED)} numbers")
    return tuple(_number(as_kind("fingerprint", value, float)) for value in values)


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    return value


def fingerprint(weights: Mapping[str, Tensor]) -> list[float]:
    """One number for each of `MARKED`: the weights along a fixed wave, over their norm. About ±1 for any network, and
    the same for the same network in any number format."""
    found = []
    for name in MARKED:
        values = weights[name].detach().double().flatten().cpu()
        wave = torch.sin(0.37 * torch.arange(len(values), dtype=torch.float64)) * 2**0.5
        found.append(round(float((values @ wave) / values.norm().clamp(min=1e-12)), 4))
    return found


def merge_adapter(unet: UNet, adapter: Adapter, name: str = "this model") -> None:
    """Add an adapter to a U-Net's weights, in place: w + scale · up @ down, computed in float32.

    Raises: WeightsError: it was made for another architecture or for other weights. Nothing is changed then.
    """
    made_for = f"made for {adapter.base}"
    if adapter.unet != unet.config:
        raise WeightsError(
            f"{adapter.path}: does not fit {name}: {made_for}, a U-Net of another shape. Pass --model {adapter.base}"
        )
    own = unet.state_dict()
    apart = [abs(a - b) for a, b in zip(fingerprint(own), adapter.fingerprint, strict=True)]
    if max(apart) > TOLERANCE:
        raise WeightsError(
            f"{adapter.path}: does not fit {name}: {made_for}, which has the same shape but other weights. "
            f"Pass --model {adapter.base}, or train the adapter on {name}"
        )
    changes = {}
    for layer, (down, up) in adapter.matrices.items():
        weight = own.get(f"{layer}.weight")
        if weight is None or weight.shape[0] != up.shape[0] or weight[0].numel() != down[0].numel():
            raise WeightsError(f"{adapter.path}: does not fit {name}: no layer {layer} of that shape. Train it again")
        product = (up.flatten(1).float() @ down.flatten(1).float()).view(weight.shape)
        changes[f"{layer}.weight"] = weight.float() + adapter.scale * product.to(weight.device)
    require_finite(changes, f"{adapter.path}: merged into {name}")
    with torch.no_grad():
        for key, value in changes.items():
            own[key].copy_(value)
