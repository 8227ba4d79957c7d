"""Where weights come from: find, verify, convert, load. Names are imported when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.models.weights.adapter import Adapter, merge_adapter, read_adapter, write_adapter
    from latentsync.models.weights.architecture import infer_unet_config, load_strict
    from latentsync.models.weights.catalogue import FACE_LICENCES
    from latentsync.models.weights.checkpoints import Checkpoint, open_checkpoint
    from latentsync.models.weights.index import ModelIndex, read_index
    from latentsync.models.weights.layout import load_part, save_model
    from latentsync.models.weights.licence import Licence
    from latentsync.models.weights.loaders import (
        load_audio_encoder,
        load_autoencoder,
        load_own_syncnet,
        load_syncnet,
        load_syncnet_v2,
        load_unet,
    )
    from latentsync.models.weights.manage import Check, ModelInfo, convert, fetch, licences, list_models, verify
    from latentsync.models.weights.rename import start_from_sd
    from latentsync.models.weights.store import Located, completed, find, load, with_resolution

_HOME = {
    "adapter": ("Adapter", "merge_adapter", "read_adapter", "write_adapter"),
    "architecture": ("infer_unet_config", "load_strict"),
    "catalogue": ("FACE_LICENCES",),
    "checkpoints": ("Checkpoint", "open_checkpoint"),
    "index": ("ModelIndex", "read_index"),
    "layout": ("load_part", "save_model"),
    "licence": ("Licence",),
    "loaders": (
        "load_autoencoder",
        "load_audio_encoder",
        "load_own_syncnet",
        "load_syncnet",
        "load_syncnet_v2",
        "load_unet",
    ),
    "manage": ("Check", "ModelInfo", "convert", "fetch", "licences", "list_models", "verify"),
    "rename": ("start_from_sd",),
    "store": ("Located", "completed", "find", "load", "with_resolution"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "FACE_LICENCES",
    "Adapter",
    "Check",
    "Checkpoint",
    "Licence",
    "Located",
    "ModelIndex",
    "ModelInfo",
    "completed",
    "convert",
    "fetch",
    "find",
    "infer_unet_config",
    "licences",
    "list_models",
    "load",
    "load_audio_encoder",
    "load_autoencoder",
    "load_own_syncnet",
    "load_part",
    "load_strict",
    "load_syncnet",
    "load_syncnet_v2",
    "load_unet",
    "merge_adapter",
    "open_checkpoint",
    "read_adapter",
    "read_index",
    "save_model",
    "start_from_sd",
    "verify",
    "with_resolution",
    "write_adapter",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
