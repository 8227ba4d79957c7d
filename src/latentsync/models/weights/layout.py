"""A model on disk: `model_index.json`, and one folder per part with `config.json` and `model.safetensors`.

Every file's SHA-256 stands in the index and is checked on loading. The index is written last, so a folder without one
is not a model, and a half-written one is found out by its hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.core.errors import WeightsError
from latentsync.core.files import atomic_path
from latentsync.models.weights.architecture import load_strict
from latentsync.models.weights.checkpoints import open_checkpoint
from latentsync.models.weights.components import build_empty, kind_of
from latentsync.models.weights.hashing import check_file, sha256
from latentsync.models.weights.licence import Licence

INDEX = "model_index.json"
CONFIG, TENSORS = "config.json", "model.safetensors"
FORMAT_VERSION = 1
AGAIN = "Convert or download the model again"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartEntry:
    """A part of a model folder: class of the network, and file name → SHA-256."""

    class_name: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIndex:
    """What `model_index.json` says.

    Attributes:
        name: of the model, for people and for the output's metadata.
        parts: by part name.
        settings: plain JSON that the pipeline reads: resolution, frames a chunk, sampler, default steps, …
        licences: of all parts.
        provenance: plain JSON: source files and hashes, training data, version.
    """

    name: str
    parts: Mapping[str, PartEntry]
    settings: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


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
        parts: part name ("unet", "autoencoder", "listener", …) → network.
        dtype: of the stored floating-point parameters; None = as they are. Buffers keep theirs.
        overwrite: write into a folder that isn't empty. Files which the new model doesn't have stay where they are.
    Raises:
        WeightsError: the folder isn't empty, or a value doesn't fit into `dtype`.
    """
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder}: is a file. Choose a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise WeightsError(f"{folder}: not empty. Choose a new folder, or allow overwriting")
    entries = {part: _save_part(folder / _checked_name(part), module, dtype) for part, module in parts.items()}
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
    _write_json(folder / INDEX, content)
    return index


def _save_part(folder: Path, module: nn.Module, dtype: torch.dtype | None) -> PartEntry:
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
    _write_json(folder / CONFIG, dict(kind.describe(module)))
    with atomic_path(folder / TENSORS) as path:
        save_file(tensors, path, metadata={"format": "pt"})
    return PartEntry(
        class_name=type(module).__name__, files={name: sha256(folder / name) for name in (CONFIG, TENSORS)}
    )


def _narrow(value: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    out = value.to(dtype)
    if not torch.isfinite(out).all():
        raise WeightsError(f"{key}: holds values beyond {dtype}. Store as bfloat16 or float32")
    return out


def _checked_name(part: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", part):
        raise WeightsError(f"{part!r}: not a part's name. Use small letters, digits and _")
    return part


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_model_folder(folder: Path) -> bool:
    """Is this a folder written by `save_model`?"""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> ModelIndex:
    """Read `model_index.json`.

    Raises:
        WeightsError: there is none, it's damaged, or a newer version wrote it.
    """
    path = folder / INDEX
    if not path.is_file():
        raise WeightsError(f"{folder}: no {INDEX}. Give a folder made by `latentsync models convert`")
    content = _read_json(path)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path}: format version {version!r}, this is for {FORMAT_VERSION}. Update latentsync")
    try:
        return ModelIndex(
            name=str(content["name"]),
            parts={
                _checked_name(part): PartEntry(class_name=str(entry["class"]), files=dict(entry["sha256"]))
                for part, entry in content["parts"].items()
            },
            settings=dict(content.get("settings", {})),
            licences=tuple(Licence(**licence) for licence in content.get("licences", ())),
            provenance=dict(content.get("provenance", {})),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path}: damaged ({error}). Convert or download the model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable ({error}). Convert or download the model again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object. Convert or download the model again")
    return content


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
    for name in (CONFIG, TENSORS):
        check_file(folder / part / name, entry.files.get(name, "no hash in the index"), AGAIN)
    config = _read_json(folder / part / CONFIG)
    state = open_checkpoint(folder / part / TENSORS).tensors
    return fill(entry.class_name, config, state, str(folder / part), dtype)


def fill(
    class_name: str, config: Mapping[str, Any], state: Mapping[str, Tensor], where: str, dtype: torch.dtype | None
) -> nn.Module:
    """Build a network and load `state` into it, without ever holding random weights where its kind allows that."""
    kind = kind_of(class_name, where)
    module = build_empty(class_name, config, where)
    if dtype is not None:
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    load_strict(kind.network(module), state, where, assign=kind.is_meta_safe)
    if dtype is not None:
        module.to(dtype)
    return module.eval()
