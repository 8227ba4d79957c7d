"""Networks from the files of others: released U-Nets, OpenAI's Whisper, diffusers' autoencoders, SyncNets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.models.unet_config import UNetConfig
from latentsync.models.weights.architecture import infer_unet_config, load_strict
from latentsync.models.weights.checkpoints import open_checkpoint, require_finite
from latentsync.models.weights.index import read_json
from latentsync.models.weights.layout import fill
from latentsync.models.weights.rename import rename_unet_1_0, rename_vae


def load_file(part: str, path: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network of a part from one file. Raises WeightsError where the part isn't known or the file doesn't fit."""
    known = {"unet": load_unet, "autoencoder": load_autoencoder, "audio_encoder": load_audio_encoder}
    if part not in known:
        raise WeightsError(f"{path}: no reader for {part!r}. Use a model folder")
    return known[part](path, dtype)


def load_unet(path: Path, dtype: torch.dtype = torch.float32, expected: UNetConfig | None = None) -> nn.Module:
    """A U-Net of any release, or ours, as the checkpoint's own shapes say.

    Args:
        expected: refuse the file unless it has exactly this architecture; also gives what shapes don't say.
    Raises:
        WeightsError: unsafe, damaged, not a U-Net, or not the expected one.
    """
    state = rename_unet_1_0(open_checkpoint(path).tensors)
    config = expected or infer_unet_config(state, where=str(path))
    return fill("UNet", config.to_mapping(), state, str(path), dtype)


def load_syncnet(path: Path, config: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A StableSyncNet; `config` is the `model` section of its YAML file (see the presets of kind "syncnet")."""
    return fill("SyncNet", config, open_checkpoint(path).tensors, str(path), dtype)


def load_own_syncnet(path: Path, config: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Our SyncNet on pixels as a judge: in evaluation mode, with its settings (`num_frames`, `resolution`,
    `lower_half`).

    Args:
        path: a checkpoint, whose configuration is `config` (preset name or YAML file; None = the released network's);
            a folder with `config.json` and `model.safetensors`; or a model folder which has a part `syncnet`.
    Raises: WeightsError, ConfigError: a file is missing, damaged or does not fit; a SyncNet on latents.
    """
    from latentsync.models.weights.index import is_model_folder

    settings: dict[str, Any]
    if is_model_folder(path):
        path = path / "syncnet"
    if path.is_dir() and config is None:
        if not (path / "config.json").is_file():
            raise WeightsError(f"{path}: no config.json in it. Give a SyncNet's folder, or a checkpoint and its config")
        settings = read_json(path / "config.json")
    else:
        settings = dict(load_preset(config or "16_pixel_attn", "syncnet"))
    if settings.get("input", "pixel") != "pixel":
        raise ConfigError("judge", str(path), "give a SyncNet that looks at pixels, not latents")
    model = settings.get("model") or {key: settings.get(key) for key in ("audio_encoder", "visual_encoder")}
    network: Any = load_syncnet(path / "model.safetensors" if path.is_dir() else path, model)
    if "num_frames" not in settings:
        settings["num_frames"] = network.visual_config.in_channels // 3
    return network.eval().requires_grad_(False), settings


def load_syncnet_v2(path: Path) -> nn.Module:
    """The judge of published sync scores, from `syncnet_v2.model`, float32, in eval mode."""
    from latentsync.models.syncnet_v2 import SyncNetV2

    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in open_checkpoint(path).tensors.items()
    }
    model = SyncNetV2()
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):  # not stored by old PyTorch versions, and not used in eval mode
            state.setdefault(key, value)
    load_strict(model, state, str(path))
    return model.eval()


def load_autoencoder(path: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A Stable Diffusion autoencoder in diffusers' format, both spellings of its attention; `config.json` beside it.

    Raises:
        WeightsError: see `load_unet`.
    """
    from latentsync.models.autoencoder import SD_CONFIG

    beside = path.with_name("config.json")
    config = SD_CONFIG
    if beside.is_file():
        config = read_json(beside)
    return fill("SdAutoencoder", config, rename_vae(open_checkpoint(path).tensors), str(path), dtype)


def load_audio_encoder(path: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """An audio encoder from OpenAI's Whisper file (which holds its own shape).

    Raises:
        WeightsError: see `load_unet`; also a file without `dims`.
    """
    from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig

    checkpoint = open_checkpoint(path)
    dims = checkpoint.extra.get("dims")
    if not isinstance(dims, Mapping):
        raise WeightsError(f"{path}: no `dims`, so not an OpenAI Whisper file. Give whisper/tiny.pt")
    try:
        config = AudioEncoderConfig.from_openai(dims)
    except KeyError as error:
        raise WeightsError(f"{path}: `dims` lacks {error}. Give whisper/tiny.pt") from error
    except (TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"{path}: `dims` describe no audio encoder ({error}). Give whisper/tiny.pt") from error
    require_finite(checkpoint.tensors, str(path))
    audio_encoder = AudioEncoder(config)
    audio_encoder.load_whisper(checkpoint.tensors)
    return audio_encoder.to(dtype).eval()
