"""Opening checkpoint files safely: tensors and plain numbers come in, code does not."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentsync.config import renamed
from latentsync.core.errors import WeightsError
from latentsync.models.weights.hashing import require_weights

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
SAFETENSORS = ".safetensors"
POINTER = b"version https://git-lfs"
SMALL_BYTES = 1 << 20
"""Up to this a tensor may repeat fewer numbers than it has (tables that are the same for all)."""


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
    require_weights(path, "Give the path of a .pt or .safetensors checkpoint")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise WeightsError(
                f"{path}: a Git LFS pointer, not the weights. Run `git lfs pull`, or download the file itself"
            )
    if path.suffix == SAFETENSORS:
        return Checkpoint(path, renamed.tensors(_read_safetensors(path)))
    _refuse_compressed(path)
    tensors, extra = _unwrap(_read_pickle(path), path)
    for name, value in tensors.items():
        if value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), SMALL_BYTES):
            raise WeightsError(f"{path}: {name} repeats few numbers as {value.numel()}. Give the file of a release")
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors. Give a checkpoint with a `state_dict`")
    return Checkpoint(path, renamed.tensors(tensors), extra)


def _refuse_compressed(path: Path) -> None:
    """PyTorch stores its files' content as it is; a compressed one may become a thousand times as large."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path}: damaged or not a PyTorch checkpoint. Download it again") from error
    if packed:
        raise WeightsError(f"{path}: compressed, as no PyTorch checkpoint is. Unpack it first")


def require_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raises: WeightsError: a tensor holds NaN or infinity: a network with it draws nothing, or one colour."""
    for name, value in state.items():
        if value.is_floating_point() and value.numel() and value.device.type != "meta" and not _is_finite(value):
            raise WeightsError(f"{where}: {name} holds values that are no numbers (NaN or infinity). Use other weights")


def _is_finite(value: Tensor) -> bool:
    try:
        low, high = torch.aminmax(value.detach())  # passes NaN on; no copy of the size of the tensor
    except RuntimeError:  # number formats of 8 bits have no such operation
        low, high = torch.aminmax(value.detach().float())
    return bool(torch.isfinite(low) & torch.isfinite(high))


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
        TypeError,
        AssertionError,
        RecursionError,
        MemoryError,
        OverflowError,
        struct.error,
    ) as error:
        why = f" ({_line(error)})" if isinstance(error, RuntimeError | OSError) else ""  # the rest only tripped over it
        raise WeightsError(f"{path}: damaged or not a PyTorch checkpoint{why}. Download it again") from error


def _unwrap(content: object, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    extra: dict[str, Any] = {}
    for depth in count():
        if not isinstance(content, Mapping):
            break
        if depth > len(WRAPPERS):  # a mapping that holds itself has no end
            raise WeightsError(f"{path}: its weights lie in mappings without end. Give the file of a release")
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
