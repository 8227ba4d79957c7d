"""What `latentsync models …` does, as plain functions: list, fetch, convert, verify, licences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.core.progress import Progress, ProgressCallback, silent
from latentsync.models.weights.catalogue import NAMED
from latentsync.models.weights.hub import find_cached, has_hash
from latentsync.models.weights.licence import Licence
from latentsync.models.weights.store import Located, completed, find, load, with_resolution

DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """One row of `latentsync models list`.

    Attributes:
        source: "package", or the Hub repository of its U-Net.
        resolution: side of the crop it works on, pixels; None where the model isn't here to tell.
        is_local: all its files are on this computer.
        size_bytes: of the local files, None where they aren't all here.
    """

    name: str
    title: str
    source: str
    resolution: int | None
    is_local: bool
    size_bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Result of verifying one part: `detail` says what was found wrong, or what was checked."""

    part: str
    path: Path
    is_ok: bool
    detail: str


def list_models(cache_dir: Path | None = None) -> list[ModelInfo]:
    """The named models and whether they are here. Nothing is downloaded, no torch is imported for the Hub's ones."""
    rows = []
    for named in NAMED.values():
        if named.files:
            paths = [find_cached(file, cache_dir) for files in named.files.values() for file in files]
            source, resolution = named.files["unet"][0].repo, named.settings["resolution"]
        else:
            folder = Path(str(resources.files("latentsync") / "assets" / named.name))
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else [None]
            source, resolution = "package", _resolution_of(folder)
        local = [path for path in paths if path is not None]
        is_local = len(local) == len(paths)
        rows.append(
            ModelInfo(
                name=named.name,
                title=named.title,
                source=source,
                resolution=resolution,
                is_local=is_local,
                size_bytes=sum(path.stat().st_size for path in local) if is_local else None,
            )
        )
    return rows


def _resolution_of(folder: Path) -> int | None:
    if not folder.is_dir():
        return None
    value = find(folder).settings.get("resolution")
    return value if type(value) is int else None


def fetch(
    name: str, offline: bool = False, progress: ProgressCallback = silent, cache_dir: Path | None = None
) -> Located:
    """Make a named model complete on this computer; with `offline`, only check that it is.

    Raises:
        WeightsError: no such name, or a file's hash isn't the recorded one. OfflineError: see `find`.
    """
    if name not in NAMED:
        raise WeightsError(
            f"{name}: no model of that name. Choose {', '.join(NAMED)}, face-model (for `synth`), or a judge that "
            "`latentsync models list` shows"
        )
    return find(name, offline, progress=progress, cache_dir=cache_dir)


def convert(
    source: str | Path,
    target: Path,
    *,
    name: str | None = None,
    resolution: int | None = None,
    dtype: str = "float16",
    parts: Sequence[str] | None = None,
    offline: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback = silent,
) -> Path:
    """Write a model as a folder of safetensors in our layout.

    Args:
        source: a name, a folder, or a U-Net file (`.pt` or `.safetensors`).
        target: the folder to write; new or empty unless `overwrite`.
        resolution: side of the crop in pixels; needed for a lone U-Net file, which doesn't say it.
        dtype: of the stored parameters: float16, bfloat16 or float32.
        parts: which parts to write; None = unet, autoencoder and audio encoder.
    Returns: `target`.
    Raises:
        ConfigError: a bad dtype, no resolution where one is needed, or another than the model's.
        WeightsError, OfflineError: see `find`.
    """
    import torch

    from latentsync.models.weights.layout import save_model

    if dtype not in DTYPES:
        raise ConfigError("dtype", dtype, f"choose one of {', '.join(DTYPES)}")
    located = find(source, offline, complete=False)
    settings = with_resolution(located.settings, resolution, located.name)
    if parts is None or set(parts) != {"unet"}:
        located = completed(located, offline)
    wanted = list(parts or located.parts)
    modules = {}
    for done, part in enumerate(wanted):
        progress(Progress("convert", done, len(wanted), "parts"))
        modules[part] = load(located, part)
    save_model(
        target,
        modules,
        name=name or located.name,
        settings=settings,
        licences=[licence for licence in located.licences if licence.part in wanted],
        provenance={**located.provenance, "converted_from": Path(str(source)).name},
        dtype=getattr(torch, dtype),
        overwrite=overwrite,
    )
    progress(Progress("convert", len(wanted), len(wanted), "parts"))
    return target


def verify(name_or_path: str | Path, offline: bool = True, cache_dir: Path | None = None) -> list[Check]:
    """Check every part of a model: hashes where some are recorded, names and shapes of all tensors always.

    Nothing is recorded: a named model's file without a hash on record is not compared, and its `Check` says so.

    Raises:
        WeightsError, OfflineError: the model itself can't be found; what is wrong with a part is in its `Check`.
    """
    located = find(name_or_path, offline, complete=False, cache_dir=cache_dir, record=False)
    named = NAMED.get(str(name_or_path))
    checks = []
    for part, path in located.parts.items():
        files = named.files.get(part, ()) if named is not None else ()
        is_compared = located.folder is not None or (bool(files) and all(has_hash(file) for file in files))
        unknown = "; no SHA-256 on record to compare with" if files and not is_compared else ""
        try:
            network = load(located, part)
            count = sum(parameter.numel() for parameter in network.parameters())
            hashes = "SHA-256 and " if is_compared else ""
            detail = f"{hashes}all tensors fit: {type(network).__name__}, {count:,} parameters{unknown}"
            is_ok = True
        except LatentSyncError as error:
            detail, is_ok = str(error), False
        checks.append(Check(part=part, path=path, is_ok=is_ok, detail=detail))
    return checks


def licences(name_or_path: str | Path, cache_dir: Path | None = None) -> list[Licence]:
    """Under which terms each part of a model may be used. A named model need not be downloaded for this.

    Raises:
        WeightsError: no such model.
    """
    named = NAMED.get(str(name_or_path))
    if named is not None and named.files:
        return list(named.licences)
    return list(find(name_or_path, offline=True, complete=False, cache_dir=cache_dir).licences)
