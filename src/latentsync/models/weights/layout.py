"""A model on disk: `model_index.json`, and one folder per part with `config.json` and `model.safetensors`.

Every file's SHA-256 stands in the index and is checked on loading. The index is written last, so a folder without one
is not a model, and a half-written one is found out by its hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.models.weights.architecture import load_strict
from latentsync.models.weights.checkpoints import open_checkpoint
from latentsync.models.weights.components import build_empty, kind_of
from latentsync.models.weights.hashing import check_file
from latentsync.models.weights.index import (
    AGAIN,
    CONFIG,
    FORMAT_VERSION,
    INDEX,
    TENSORS,
    ModelIndex,
    PartEntry,
    checked_name,
    read_index,
    read_json,
    write_json,
)
from latentsync.models.weights.licence import Licence


def save_model(
    folder: Path,
    parts: Mapping[str, nn.Module],
    *,
    name: str,
    settings: Mapping[str, Any] | None = None,
    licences: Iterable[Licence] = (),
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> ModelIndex:
    """Write a model folder. Each file appears whole or not at all; the index comes last.

    Args:
        parts: part name ("unet", "autoencoder", "audio_encoder", …) → network.
        dtype: of the stored floating-point parameters; None = as they are. Buffers keep theirs.
        overwrite: write into a folder that isn't empty. Files which the new model doesn't have stay where they are.
    Raises:
        WeightsError: the folder isn't empty, a value doesn't fit into `dtype`, or a file cannot be written whole.
        ConfigError: `dtype` is none of PyTorch's.
    """
    if not isinstance(dtype, torch.dtype | None):
        raise ConfigError("dtype", dtype, "give torch.float16, torch.bfloat16 or torch.float32")
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder}: is a file. Choose a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise WeightsError(f"{folder}: not empty. Choose a new folder, or pass overwrite (--overwrite)")
    with _explain_refusals(folder):
        entries = {part: _save_part(folder / checked_name(part), module, dtype) for part, module in parts.items()}
    index = ModelIndex(
        name=name,
        parts=entries,
        settings=dict(settings or {}),
        licences=tuple(licences),
        provenance=dict(provenance or {}),
    )
    content = {
        "_class_name": "Lipsync",
        "format_version": FORMAT_VERSION,
        "name": index.name,
        "parts": {part: {"class": entry.class_name, "sha256": entry.files} for part, entry in entries.items()},
        "settings": index.settings,
        "licences": [asdict(licence) for licence in index.licences],
        "provenance": index.provenance,
    }
    with _explain_refusals(folder):
        write_json(folder / INDEX, content)
    return index


@contextmanager
def _explain_refusals(folder: Path) -> Iterator[None]:
    """Raises: WeightsError: the system refuses to write within, e.g. since the folder is read-only or the disk full."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"{folder}: cannot be written ({reason}). Free space or choose another folder") from error


def _save_part(folder: Path, module: nn.Module, dtype: torch.dtype | None) -> PartEntry:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    kind = kind_of(type(module).__name__, str(folder))
    network = kind.network(module)
    names = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    tensors = {}
    for key, value in network.state_dict().items():
        stored = value.detach()
        if dtype is not None and key in names and stored.is_floating_point():
            stored = _narrow(stored, dtype, f"{folder.name}.{key}")
        tensors[key] = stored.cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, dict(kind.describe(module)))
    try:
        with atomic_path(folder / TENSORS) as path:
            save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # its text has the system's reason: "No space left on device (os error 28)"
        reason = " ".join(str(error).split())
        where = folder / TENSORS
        raise WeightsError(f"{where}: not written ({reason}). Free space or choose another folder") from error
    return PartEntry(
        class_name=type(module).__name__, files={name: file_sha256(folder / name) for name in (CONFIG, TENSORS)}
    )


def _narrow(value: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    out = value.to(dtype)
    if not torch.isfinite(out).all():
        raise WeightsError(f"{key}: holds values beyond {dtype}. Store as bfloat16 or float32")
    return out


def load_part(folder: Path, part: str, dtype: torch.dtype | None = torch.float32) -> nn.Module:
    """Load one network of a model folder, hash-checked and strict, in eval mode on the CPU.

    Args:
        dtype: of the result; None = as stored.
    Raises:
        WeightsError: the part or a file is missing, a hash differs, or the weights don't fit the config.
    """
    index = read_index(folder)
    if part not in index.parts:
        raise WeightsError(f"{folder}: has no {part}, only {', '.join(index.parts)}. Use a complete model folder")
    entry = index.parts[part]
    home = folder / (entry.folder or part)
    for name in (CONFIG, TENSORS):
        check_file(home / name, entry.files.get(name, "no hash in the index"), AGAIN)
    config = read_json(home / CONFIG)
    state = open_checkpoint(home / TENSORS).tensors
    try:
        return fill(entry.class_name, config, state, str(home), dtype)
    except ConfigError as error:  # the file's fault, no setting of the user's
        raise WeightsError(f"{home / CONFIG}: describes no {entry.class_name} ({error}). {AGAIN}") from error


def fill(
    class_name: str, config: Mapping[str, Any], state: Mapping[str, Tensor], where: str, dtype: torch.dtype | None
) -> nn.Module:
    """Build a network and load `state` into it, without ever holding random weights where its kind allows that.

    Raises: WeightsError: `state` does not fit, or no network can be built from values of these kinds. ConfigError: a
        key or a value of `config` that its class refuses.
    """
    kind = kind_of(class_name, where)
    try:
        module = build_empty(class_name, config, where)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{where}: its config describes no {class_name} ({reason}). {AGAIN}") from error
    if dtype is not None:
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    load_strict(kind.network(module), state, where, assign=kind.is_meta_safe)
    if dtype is not None:
        module.to(dtype)
    return module.eval()
