"""Which device, and which number format on it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from latentsync.core.errors import ConfigError, LatentSyncError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def choose_device(name: str | None) -> torch.device:
    """The named device, or the best one: CUDA, then MPS, then the CPU.

    Raises: ConfigError: unknown or not available.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("device", name, "choose cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "no CUDA device is available here; choose cpu")
    count = torch.cuda.device_count()
    if device.type == "cuda" and device.index is not None and device.index >= count:
        there = ", ".join(f"cuda:{index}" for index in range(count))
        raise ConfigError("device", name, f"there is no such card here; choose {there} or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device", name, "Metal is not available here; choose cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError("device", name, "choose cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The named format, or the fastest safe one: CUDA bf16 (fp16 before Ampere, float32 before Volta), MPS fp16, CPU
    bf16 where the processor multiplies it, else float32.

    Raises: ConfigError: unknown, or float16 on a CPU.
    """
    if name is None:
        if device.type == "cuda":
            major, _ = torch.cuda.get_device_capability(device)
            return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32
        if device.type == "mps":
            return torch.float16
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    key = ALIASES.get(name, name)
    if key not in DTYPES:
        raise ConfigError("dtype", name, f"choose one of {', '.join(DTYPES)}")
    if key == "float16" and device.type == "cpu":
        raise ConfigError("dtype", name, "choose float32 or bfloat16 on a CPU")
    return DTYPES[key]


def cpu_multiplies_bfloat16() -> bool:
    """Whether bf16 products run in hardware. Emulated, they are several times slower than float32."""
    if platform.system() != "Linux":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


_OUT_OF_MEMORY = re.compile(r"MPS backend out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""What torch says of Metal and of the CPU, whose errors have no class of their own."""


@contextmanager
def explain_out_of_memory(device: torch.device, model: str) -> Iterator[None]:
    """Say what helps where a device's memory does not suffice. Raises: LatentSyncError, in place of torch's error."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        other = "a computer with more" if device.type == "cpu" else "another device (--device cpu is slow)"
        raise LatentSyncError(
            f"{device}: its memory does not suffice for model {model}. End other programs that use it, or choose "
            f"a smaller model (--model 1.5 needs less than 1.6, tiny least) or {other}"
        ) from error
