"""Neural networks only. Names are imported when first asked for, so that a light command stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.models.unet import StepCache, UNet
    from latentsync.models.unet_config import UNetConfig

_HOME = {
    "UNet": "unet",
    "StepCache": "unet",
    "UNetConfig": "unet_config",
}

__all__ = ["StepCache", "UNet", "UNetConfig"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
