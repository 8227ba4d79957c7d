"""The pipeline: `Lipsync` wires the floors below into one stream from decoded frames to encoded ones."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.pipeline.lipsync import Lipsync
    from latentsync.pipeline.result import Result

__all__ = ["Lipsync", "Result"]

_WHERE = {"Lipsync": "lipsync", "Result": "result"}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from latentsync.pipeline.threads import sleeping_waits

        with sleeping_waits():
            return getattr(importlib.import_module(f"latentsync.pipeline.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
