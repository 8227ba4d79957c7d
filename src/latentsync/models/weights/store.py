"""From what a user calls a model (a name, a folder, a file) to its files, and from those to networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.core.errors import ConfigError, WeightsError, shown
from latentsync.core.progress import Progress, ProgressCallback, silent
from latentsync.core.reading import name_refused, shown_path
from latentsync.models.weights.catalogue import (
    AUDIO_ENCODER_LICENCE,
    NAMED,
    RELEASED_SETTINGS,
    VAE_FILES,
    VAE_LICENCE,
    HubFile,
    NamedModel,
    whisper_files,
)
from latentsync.models.weights.hashing import require_weights
from latentsync.models.weights.hub import fetch_file
from latentsync.models.weights.licence import Licence

if TYPE_CHECKING:
    import torch
    from torch import nn

UNET_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """The files of one model.

    Attributes:
        name: for people and for the output's metadata.
        folder: the model folder in our layout, None where the parts are single files.
        parts: part name → the file that holds it (with a folder in our layout: the part's own folder).
        settings: see `ModelIndex.settings`. `resolution` is missing for a lone U-Net file: the file doesn't say.
        licences: of the parts.
        provenance: where they come from.
    """

    name: str
    folder: Path | None
    parts: Mapping[str, Path]
    settings: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def find(
    name_or_path: str | Path,
    offline: bool = False,
    complete: bool = True,
    progress: ProgressCallback = silent,
    cache_dir: Path | None = None,
    record: bool = True,
) -> Located:
    """The files of a model: a name of `catalogue.NAMED`, a folder, or a U-Net checkpoint file.

    Folders: our layout, or the released one (`latentsync_unet.pt`, `whisper/tiny.pt`, `vae/`).

    Args:
        offline: never download.
        complete: for a released folder or a lone U-Net file, add the autoencoder and audio encoder it was trained with
            from the Hub.
        cache_dir: the Hub's cache; None = the Hub client's own choice (`HF_HOME`).
        record: False = the hashes of a named model's files that have none on record are not recorded, see `fetch_file`.
    Raises:
        WeightsError: no such model. OfflineError: a file is needed that can't or mustn't be downloaded.
    """
    text = str(name_or_path)
    if text in NAMED:
        named = NAMED[text]
        return _fetch_named(named, offline, progress, cache_dir, record) if named.files else _bundled(named)
    path = Path(name_or_path).expanduser()
    if name_refused(path) is not None:
        raise WeightsError(f"{shown_path(path)}: no such model. Choose {', '.join(NAMED)}, a model folder, or a file")
    if path.is_dir():
        located = _in_folder(path)
    elif path.exists():
        require_weights(path, "Give a model folder, or a .pt or .safetensors file")
        located = _lone(path, {"unet": path})
    else:
        raise WeightsError(
            f"{text}: no such model. Choose {', '.join(NAMED)}, a model folder, or a .pt or .safetensors file"
        )
    return completed(located, offline, cache_dir) if complete else located


def with_resolution(settings: Mapping[str, Any], resolution: int | None, model: str) -> dict[str, Any]:
    """A model's settings with the side of its crop in pixels, which a lone U-Net file does not say.

    Raises: ConfigError: nobody says it, or the model says another one than asked for.
    """
    known = settings.get("resolution")
    if type(known) is not int and known is not None:
        raise WeightsError(f"{model}: its resolution {shown(known, repr)} is no number of pixels. Convert it again")
    if resolution is not None and known is not None and known != resolution:
        raise ConfigError("resolution", resolution, f"leave it out: {model} was made for {known} px")
    if resolution is None and known is None:
        raise ConfigError("resolution", None, f"give 256 (1.0, 1.5) or 512 (1.6): {model} does not say it")
    return {**settings, "resolution": known if resolution is None else resolution}


def _bundled(named: NamedModel) -> Located:
    folder = Path(str(resources.files("latentsync") / "assets" / named.name))
    if not folder.is_dir():
        raise WeightsError(f"{named.name}: not part of this installation. Install latentsync from its wheel")
    return _in_folder(folder)


def _fetch_named(
    named: NamedModel, offline: bool, progress: ProgressCallback, cache_dir: Path | None, record: bool
) -> Located:
    files = [(part, file) for part, of_part in named.files.items() for file in of_part]
    parts: dict[str, Path] = {}
    source: dict[str, str] = {}
    for done, (part, file) in enumerate(files):
        progress(Progress("fetch", done, len(files), "files"))
        path = fetch_file(file, offline, cache_dir, record)
        parts.setdefault(part, path)
        source[f"{file.repo}/{file.name}"] = _where(file, path)
    progress(Progress("fetch", len(files), len(files), "files"))
    return Located(
        name=named.name,
        folder=None,
        parts=parts,
        settings=named.settings,
        licences=named.licences,
        provenance={"hub": source},
    )


def _where(file: HubFile, path: Path) -> str:
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else file.revision or "main"


def _in_folder(folder: Path) -> Located:
    from latentsync.models.weights.index import is_model_folder, read_index

    if is_model_folder(folder):
        index = read_index(folder)
        return Located(
            name=index.name,
            folder=folder,
            parts={part: folder / (entry.folder or part) for part, entry in index.parts.items()},
            settings=index.settings,
            licences=index.licences,
            provenance=index.provenance,
        )
    unet = folder / "latentsync_unet.pt"
    if not unet.is_file():
        raise WeightsError(f"{folder}: neither model_index.json nor latentsync_unet.pt. Give a model folder")
    parts = {"unet": unet}
    for part, names in (
        ("audio_encoder", ("whisper/tiny.pt", "whisper/small.pt")),
        ("autoencoder", ("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin")),
    ):
        found = [folder / name for name in names if (folder / name).is_file()]
        if found:
            parts[part] = found[0]
    return _lone(unet, parts)


def _lone(unet: Path, parts: Mapping[str, Path]) -> Located:
    if unet.suffix not in UNET_SUFFIXES:
        raise WeightsError(f"{unet}: not a checkpoint. Give a .pt or .safetensors file, or a model folder")
    licence = Licence(part="unet", name="LicenseRef-unknown", note="A local file: its licence is that of its source.")
    return Located(
        name=unet.stem,
        folder=None,
        parts=dict(parts),
        settings=RELEASED_SETTINGS,
        licences=(licence, VAE_LICENCE, AUDIO_ENCODER_LICENCE),
        provenance={"unet": unet.name},
    )


def completed(located: Located, offline: bool = False, cache_dir: Path | None = None) -> Located:
    """The model with the autoencoder and audio encoder it was trained with, from the Hub where it lacks them.

    Model folders of our own are left as they are. Before anything is fetched, the U-Net's tensors are compared with
    the architecture they say they are.

    Raises: WeightsError: the U-Net's file does not fit, or no parts are known for it. OfflineError: see `find`.
    """
    parts = dict(located.parts)
    if located.folder is not None or {"audio_encoder", "autoencoder"} <= parts.keys():
        return located
    import torch

    from latentsync.models.unet import UNet
    from latentsync.models.weights.architecture import infer_unet_config, require_fit
    from latentsync.models.weights.checkpoints import open_checkpoint
    from latentsync.models.weights.rename import rename_unet_1_0

    state, where = rename_unet_1_0(open_checkpoint(parts["unet"]).tensors), str(parts["unet"])
    config = infer_unet_config(state, where=where)
    with torch.device("meta"):
        require_fit(UNet.from_config(config), state, where)
    if config.out_channels != 4 or ("audio_encoder" not in parts and config.cross_attention_dim != 384):
        raise WeightsError(
            f"{where}: {config.out_channels} latent channels and audio states of width "
            f"{config.cross_attention_dim}: no autoencoder and audio encoder are known for it. "
            "Give a complete model folder"
        )
    for part, files in (("autoencoder", VAE_FILES), ("audio_encoder", whisper_files("1.5"))):
        if part not in parts:
            parts[part] = _fetch_all(files, offline, cache_dir)
    return Located(
        name=located.name,
        folder=None,
        parts=parts,
        settings=located.settings,
        licences=located.licences,
        provenance=located.provenance,
    )


def _fetch_all(files: tuple[HubFile, ...], offline: bool, cache_dir: Path | None) -> Path:
    paths = [fetch_file(file, offline, cache_dir) for file in files]
    return paths[0]


def load(located: Located, part: str, dtype: torch.dtype | None = None) -> nn.Module:
    """One network of a model, strictly loaded, in eval mode on the CPU.

    Args:
        part: "unet", "autoencoder", "audio_encoder", …
        dtype: of the result; None = float32 (never the stored one: fp16 files are for storage).
    Raises:
        WeightsError: the model has no such part, or its file is damaged or doesn't fit.
    """
    import torch

    from latentsync.models.weights import layout, loaders

    dtype = dtype or torch.float32
    if part not in located.parts:
        raise WeightsError(f"{located.name}: has no {part}, only {', '.join(located.parts)}. Use a complete model")
    if located.folder is not None:
        return layout.load_part(located.folder, part, dtype)
    return loaders.load_file(part, located.parts[part], dtype)
