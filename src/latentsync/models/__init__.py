"""Neural networks only. Names are imported when first asked for, so that a light command stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder
    from latentsync.models.autoencoder import Autoencoder, SdAutoencoder
    from latentsync.models.syncnet import SyncNet
    from latentsync.models.syncnet_v2 import SyncNetV2
    from latentsync.models.tiny_autoencoder import TinyAutoencoder
    from latentsync.models.unet import StepCache, UNet
    from latentsync.models.unet_config import UNetConfig

_HOME = {
    "Autoencoder": "autoencoder",
    "AudioEncoder": "audio_encoder",
    "SdAutoencoder": "autoencoder",
    "StepCache": "unet",
    "SyncNet": "syncnet",
    "SyncNetV2": "syncnet_v2",
    "TinyAutoencoder": "tiny_autoencoder",
    "UNet": "unet",
    "UNetConfig": "unet_config",
}

__all__ = [
    "AudioEncoder",
    "Autoencoder",
    "SdAutoencoder",
    "StepCache",
    "SyncNet",
    "SyncNetV2",
    "TinyAutoencoder",
    "UNet",
    "UNetConfig",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
