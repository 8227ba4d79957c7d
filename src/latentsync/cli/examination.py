"""What `latentsync doctor` looks at. Every look answers with a `Finding`; none of them raises or downloads."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from latentsync.core.errors import LatentSyncError

GIB = 2**30
PACKAGES = ("latentsync", "torch", "av", "numpy", "opencv-python-headless", "ai-edge-litert", "diffusers")
EXTRAS = {"train": "accelerate", "data": "pyarrow", "ray": "ray", "synth": "numba", "synth-align": "pocketsphinx"}
"""A package that tells whether an extra is installed."""
ENCODERS = {"H.264": "libx264", "HEVC": "libx265", "AV1": "libsvtav1", "VP9": "libvpx-vp9", "ProRes": "prores_ks"}
ENCODERS |= {"AAC": "aac", "Opus": "libopus"}
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
LEAST_DISK_GIB = 1.0
"""Room below which writing is warned of: a minute of 1080p with its temporary part is far less, weights are more."""
LEAST_MEMORY_GIB = 2.0
"""`tiny` takes 1.2 GiB at 1080p (docs/speed.md), the system needs some too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. `state`: ok, note (no judgement), slow (works, but slower), broken (lip-sync can't work).
    `advice`: what helps, where something does."""

    area: str
    name: str
    value: str
    state: Literal["ok", "note", "slow", "broken"] = "ok"
    advice: str = ""


def examine() -> list[Finding]:
    """Every finding, in the order in which they are shown."""
    looks = (versions, processor, devices, memory_and_disk, codecs, files)
    return [finding for look in looks for finding in look()]


def installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> Iterator[Finding]:
    yield Finding("Software", "system", f"{platform.system()} {platform.release()} {platform.machine()}", "note")
    yield Finding("Software", "Python", f"{platform.python_version()} at {sys.executable}")
    for package in PACKAGES:
        version = installed(package)
        advice = "" if version else f"pip install {package}"
        yield Finding("Software", package, version or "not installed", "ok" if version else "broken", advice)
    here = [extra for extra, package in EXTRAS.items() if installed(package)]
    yield Finding("Software", "extras", ", ".join(here) or "none", "note")


def cpu_flags() -> set[str]:
    """What Linux says of the processor; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return set()
    lines = [line.partition(":") for line in text.splitlines()]
    return {flag for key, _, value in lines if key.strip().lower() in ("flags", "features") for flag in value.split()}


def cores() -> tuple[int, float | None]:
    """Cores that this process may use, and the limit of its container in cores, if there is one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return usable, None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return usable, None


def processor() -> Iterator[Finding]:
    usable, limit = cores()
    limited = limit is not None and limit < usable
    yield Finding(
        "Processor", "cores", f"{usable}" + (f", limited to {limit:g}" if limited else ""), "slow" if limited else "ok",
        f"threads get in each other's way: set OMP_NUM_THREADS={max(1, round(limit or 1))}" if limited else "",
    )  # fmt: skip
    found = [flag for flag in CPU_FEATURES if flag in cpu_flags()]
    yield Finding("Processor", "features", ", ".join(found) or "not known", "note")
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > usable
        advice = "other programs use the processor: expect less than it can do" if busy else ""
        yield Finding("Processor", "load", f"{load:.1f} in the last minute", "slow" if busy else "ok", advice)
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE").upper()
    active = policy == "ACTIVE"
    yield Finding(
        "Processor", "waiting threads", policy.lower(), "slow" if active else "ok",
        "unset OMP_WAIT_POLICY: spinning threads take the cores that others need" if active else "",
    )  # fmt: skip


def devices() -> Iterator[Finding]:
    if installed("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(
            "Device", "torch", f"cannot be loaded: {error}", "broken", "install PyTorch again: docs/install.md"
        )
        return

    from latentsync.generation.precision import choose_device, choose_dtype

    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding("Device", f"cuda:{index}", f"{card.name}, {card.total_memory / GIB:.0f} GiB")
    device = choose_device(None)
    on_cpu = device.type == "cpu"
    advice = "tiny is made for it; for 1.5 and 1.6: latentsync inspect VIDEO --model 1.5 --measure" if on_cpu else ""
    yield Finding("Device", "chosen", str(device), "note" if on_cpu else "ok", advice)
    dtype = str(choose_dtype(None, device)).removeprefix("torch.")
    narrow = dtype == "float32"
    advice = "this processor multiplies no bfloat16, so networks take longer" if narrow else ""
    yield Finding("Device", "number format", dtype, "slow" if narrow else "ok", advice)
    yield Finding("Device", "torch's threads", str(torch.get_num_threads()), "note")


def memory_gib() -> float | None:
    """Memory that can be had now; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / GIB for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def memory_and_disk() -> Iterator[Finding]:
    free = memory_gib()
    if free is not None:
        scarce = free < LEAST_MEMORY_GIB
        advice = "end other programs: tiny takes 1.2 GiB at 1080p, 1.5 and 1.6 far more" if scarce else ""
        yield Finding("Room", "memory", f"{free:.1f} GiB free", "slow" if scarce else "ok", advice)
    for name, folder in (("this folder", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        gib = shutil.disk_usage(folder).free / GIB
        scarce = gib < LEAST_DISK_GIB
        yield Finding("Room", name, f"{gib:.1f} GiB free in {folder}", "broken" if scarce else "ok",
                      "free space: results are written whole or not at all" if scarce else "")  # fmt: skip


def codecs() -> Iterator[Finding]:
    if installed("av") is None:
        return
    try:
        import av
    except (ImportError, OSError) as error:
        yield Finding("Codecs", "PyAV", f"cannot be loaded: {error}", "broken", "pip install --force-reinstall av")
        return

    yield Finding(
        "Codecs", "FFmpeg", ".".join(str(n) for n in av.library_versions["libavcodec"]) + " (libavcodec)", "note"
    )
    for name, encoder in ENCODERS.items():
        try:
            av.Codec(encoder, "w")
        except (ValueError, av.FFmpegError):
            needed = name in ("H.264", "AAC")
            advice = "install PyAV's own wheel: pip install --force-reinstall --only-binary av av"
            yield Finding("Codecs", name, f"{encoder} is missing", "broken" if needed else "note", advice)
        else:
            yield Finding("Codecs", name, encoder)


def size_of(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: empty"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{folder}: {total / GIB:.2f} GiB"


def files() -> Iterator[Finding]:
    from latentsync.faces.weights import DETECTOR, MESH, find_face_file
    from latentsync.models.weights import list_models

    for file in (DETECTOR, MESH):
        try:
            find_face_file(file, offline=True)
        except LatentSyncError as error:
            yield Finding("Files", file.name, "not here", "note", f"downloaded at the first run. {error}")
        else:
            yield Finding("Files", file.name, "here, hash checked")
    for model in list_models():
        name, advice = f"model {model.name}", f"latentsync models fetch {model.name}"
        if model.is_local:
            yield Finding("Files", name, "here" if model.size_bytes is None else f"{model.size_bytes / GIB:.2f} GiB")
        else:
            yield Finding("Files", name, "not here", "note", advice)
    from huggingface_hub.constants import HF_HUB_CACHE

    own = Path(os.environ.get("LATENTSYNC_CACHE") or Path.home() / ".cache" / "latentsync")
    yield Finding("Files", "downloads of the Hub", size_of(Path(HF_HUB_CACHE)), "note")
    yield Finding("Files", "our cache", size_of(own), "note")
