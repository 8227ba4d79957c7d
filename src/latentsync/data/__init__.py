"""The data pipeline: raw videos in, aligned clips in sync out, and a reason for every one left out (docs/data.md)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "BuildOptions": "api",
    "BuildResult": "api",
    "Clip": "clip",
    "DataSettings": "settings",
    "PlainStage": "stages.base",
    "Rejected": "clip",
    "Stage": "stages.base",
    "build": "api",
    "data_settings": "settings",
    "make_stages": "stages",
    "read_manifest": "manifest",
    "resplit": "api",
    "run_stages": "api",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
