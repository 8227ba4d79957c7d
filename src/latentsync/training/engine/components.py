"""The networks around the U-Net: found by name, folder or file, or made small and random for tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.models.unet import UNet
from latentsync.models.unet_config import UNetConfig
from latentsync.models.weights import (
    Located,
    find,
    infer_unet_config,
    load,
    load_audio_encoder,
    load_autoencoder,
    load_strict,
    load_syncnet,
    open_checkpoint,
    start_from_sd,
)
from latentsync.models.weights.components import KINDS
from latentsync.models.weights.layout import fill
from latentsync.models.weights.rename import rename_unet_1_0
from latentsync.training.losses.sync import SyncLoss, SyncNetFacts

log = logging.getLogger(__name__)

CONFIG, TENSORS = "config.json", "model.safetensors"
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".model")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a training begins.

    Attributes:
        name: for messages and for the adapter's record.
        state: U-Net weights; empty = from scratch.
        config: their architecture where the start says it.
        located: a whole model, whose other parts are used where the settings name none.
        settings: of that model.
    """

    name: str = "scratch"
    state: Mapping[str, Tensor] = field(default_factory=dict)
    config: UNetConfig | None = None
    located: Located | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def open_start(start: str | Path | None) -> Start:
    """A model ("tiny", "1.5", a model folder), a component folder, or a U-Net file (released, stage 1, SD 1.5).

    Raises: WeightsError: no such start, or it holds no U-Net.
    """
    if start is None:
        return Start()
    path = Path(start).expanduser()
    if path.is_dir() and (path / CONFIG).is_file() and (path / TENSORS).is_file():
        try:
            config = UNetConfig.from_mapping(json.loads((path / CONFIG).read_text("utf-8")))
        except ConfigError as error:
            raise WeightsError(f"{path}: another network, not a U-Net ({error.key}). Check --start") from error
        return Start(name=path.name, state=open_checkpoint(path / TENSORS).tensors, config=config)
    if path.is_file():
        return Start(name=path.stem, state=rename_unet_1_0(open_checkpoint(path).tensors))
    located = find(start, complete=True)
    unet = load(located, "unet")
    if not isinstance(unet, UNet):
        raise WeightsError(f"{start}: its U-Net is a {type(unet).__name__}. Give a LatentSync model")
    return Start(
        name=located.name, state=unet.state_dict(), config=unet.config, located=located, settings=located.settings
    )


def build_unet(architecture: str | Mapping[str, Any] | None, start: Start, seed: int) -> UNet:
    """The network to train, with the start's weights.

    Temporal layers that the start lacks (stage 1 → stage 2) keep their initial values, which change nothing at first.
    Stable Diffusion 1.5 weights are recognised and taken over as `start_from_sd` says.

    Args:
        architecture: preset of kind "unet", or the `model` mapping; None = the start's.
    Raises: ConfigError: neither says the architecture. WeightsError: the start does not fit it.
    """
    if architecture is None:
        if not start.state:
            raise ConfigError("task.unet", None, "name an architecture (stage1, stage2, tiny, …), or give --start")
        config = start.config or infer_unet_config(start.state, where=start.name)
    else:
        described: Any = load_preset(architecture, "unet") if isinstance(architecture, str) else architecture
        config = UNetConfig.from_mapping(described.get("model", described))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet(config)
    if start.state:
        load_strict(unet, _fitted(unet, start), start.name)
    return unet


def _fitted(unet: UNet, start: Start) -> Mapping[str, Tensor]:
    """The start's weights with the new network's own for the temporal layers that the start does not have."""
    own, state = unet.state_dict(), start.state
    stem = state.get("conv_in.weight")
    if stem is not None and stem.shape[1] in (4, 9) and own["conv_in.weight"].shape[1] != stem.shape[1]:
        return start_from_sd(own, state)[0]
    answers = unet.config.out_channels
    mixes = (unet.config.in_channels - 1) % answers > 0  # the input is one mask and several latents
    more = own["conv_in.weight"].shape[1] - stem.shape[1] if stem is not None else 0
    if stem is not None and 0 < more == answers - mixes:
        log.info("%s has one reference less than the new network, which begins as if it did not see it", start.name)
        state = {**state, "conv_in.weight": torch.nn.functional.pad(stem, (0, 0, 0, 0, 0, more))}
    head = state.get("conv_out.weight")
    if head is not None and mixes and head.shape[0] == answers - 1:
        log.info("%s does not mix its references (`tiny.residual`); the new network begins like it", start.name)
        for key in ("conv_out.weight", "conv_out.bias"):
            state = {**state, key: torch.cat([state[key], torch.zeros_like(state[key][:1])])}
    if "lip_predictor.motion" in own and "lip_predictor.motion" not in state:
        log.info("%s does not say how lips move with its code (`models.lip_predictor`)", start.name)
        state = {**state, "lip_predictor.motion": own["lip_predictor.motion"]}
    if not any("motion_modules." in key for key in state):
        return {**{key: value for key, value in own.items() if "motion_modules." in key}, **state}
    return state


def build_part(part: str, given: Any, start: Start, seed: int) -> nn.Module | None:
    """The autoencoder or the audio encoder. None: neither the settings nor the start name one.

    Args:
        given: a model's name or folder, a component folder, a file, or a mapping with `class` (random weights).
    Raises: WeightsError, ConfigError: it cannot be used.
    """
    if isinstance(given, Mapping):
        return _random(part, given, seed)
    if given is None:
        if start.located is None or part not in start.located.parts:
            return None
        return load(start.located, part).eval()
    path = Path(str(given)).expanduser()
    if path.is_dir() and (path / CONFIG).is_file():
        weights = path / TENSORS
        if not weights.is_file():  # diffusers' own folder
            return load_autoencoder(next(iter(sorted(path.glob("diffusion_pytorch_model.*"))), weights))
        config = json.loads((path / CONFIG).read_text("utf-8"))
        return fill(_class_of(part, config), config, open_checkpoint(weights).tensors, str(path), torch.float32)
    if path.is_file():
        return load_audio_encoder(path) if part == "audio_encoder" else load_autoencoder(path)
    return load(find(str(given), complete=False), part).eval()


def _class_of(part: str, config: Mapping[str, Any]) -> str:
    if part == "audio_encoder":
        return "AudioEncoder"
    return "TinyAutoencoder" if "widths" in config else "SdAutoencoder"


def _random(part: str, given: Mapping[str, Any], seed: int) -> nn.Module:
    from importlib import import_module

    config = dict(given)
    name = str(config.pop("class", ""))
    if name not in KINDS:
        raise ConfigError(f"task.components.{part}.class", name, f"choose one of {', '.join(KINDS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = getattr(import_module(f"latentsync.models.{KINDS[name].module}"), name).from_config(config)
    return module.eval()


def build_sync_loss(given: Any, seed: int) -> SyncLoss | None:
    """The SyncNet of the sync loss.

    Args:
        given: a component folder (`config.json`, `model.safetensors`), a released `.pt` (16_pixel_attn), a mapping
            `{preset: NAME, path: FILE}`, or for tests a mapping with `class: SyncNet`. None = no SyncNet.
    """
    if given is None:
        return None
    if isinstance(given, Mapping) and "class" in given:
        facts = {key: value for key, value in given.items() if key in SyncNetFacts.__dataclass_fields__}
        config = {key: value for key, value in given.items() if key not in facts}
        network = _random("syncnet", config, seed)
        return SyncLoss(network, SyncNetFacts(**facts))  # type: ignore[arg-type]
    described = dict(given) if isinstance(given, Mapping) else {"path": given}
    path = Path(str(described.get("path"))).expanduser()
    if path.is_dir() and "preset" not in described:
        if not (path / CONFIG).is_file():
            raise WeightsError(f"{path}: no {CONFIG} in it. Give a SyncNet's folder, or a file and its preset")
        settings = json.loads((path / CONFIG).read_text("utf-8"))
    else:
        settings = dict(load_preset(str(described.get("preset", "16_pixel_attn")), "syncnet"))
    model = settings.get("model") or {key: settings[key] for key in ("audio_encoder", "visual_encoder")}
    syncnet: Any = load_syncnet(path / TENSORS if path.is_dir() else path, model)
    known = {key: settings[key] for key in SyncNetFacts.__dataclass_fields__ if key in settings}
    known.setdefault("num_frames", syncnet.visual_config.in_channels // 3)
    return SyncLoss(syncnet, SyncNetFacts(**known))
