"""Opening checkpoint files safely: tensors and plain numbers come in, code does not."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentsync.config import renamed
from latentsync.core.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
SAFETENSORS = ".safetensors"
POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        tensors: name → tensor on the CPU, in the file's own dtypes.
        extra: the plain values beside them (`global_step`, Whisper's `dims`, …).
    """

    path: Path
    tensors: dict[str, Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` file, or a PyTorch file (`.pt`, `.pth`, `.bin`, `.model`, …) without running its pickle.

    Tensors are mapped from the file where its format allows, so that a 5 GB file isn't held twice. The wrappers
    `state_dict`, `model_state_dict`, `model`, `module` are taken off, and a `module.` before every name. Names that
    earlier versions wrote are today's (`config.renamed`).

    Raises:
        WeightsError: no such file, damaged, holding code, or holding no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give the path of a .pt or .safetensors checkpoint")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise WeightsError(
                f"{path}: a Git LFS pointer, not the weights. Run `git lfs pull`, or download the file itself"
            )
    if path.suffix == SAFETENSORS:
        return Checkpoint(path, renamed.tensors(_read_safetensors(path)))
    tensors, extra = _unwrap(_read_pickle(path))
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors. Give a checkpoint with a `state_dict`")
    return Checkpoint(path, renamed.tensors(tensors), extra)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({_line(error)}). Download it again") from error


def _read_pickle(path: Path) -> object:
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, ValueError) as error:
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)  # the format before PyTorch 1.6
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "WeightsUnpickler" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: refused, because it holds more than tensors and would run code on loading. "
                "Convert it to .safetensors where you trust it"
            ) from error
        raise WeightsError(f"{path}: not a PyTorch checkpoint ({_line(error)}). Download it again") from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        UnicodeDecodeError,
    ) as error:
        why = f" ({_line(error)})" if isinstance(error, RuntimeError | OSError) else ""  # the rest only tripped over it
        raise WeightsError(f"{path}: damaged or not a PyTorch checkpoint{why}. Download it again") from error


def _unwrap(content: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    extra: dict[str, Any] = {}
    while isinstance(content, Mapping):
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        extra.update({str(key): value for key, value in content.items() if key != inner})
        content = content[inner]
    if not isinstance(content, Mapping):
        return {}, extra
    tensors = {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}
    extra.update({str(key): value for key, value in content.items() if not isinstance(value, Tensor)})
    if tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors, extra


def _line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
