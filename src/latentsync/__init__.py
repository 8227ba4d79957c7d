"""LatentSync: give it a video of someone speaking and any speech; it returns the same video saying the new words.

Importing the package is cheap: torch is imported when a model is first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Lipsync", "Result", "SyncOptions", "__version__"]

if TYPE_CHECKING:
    from latentsync.config.options import SyncOptions
    from latentsync.pipeline import Lipsync, Result


def __getattr__(name: str) -> Any:
    if name == "SyncOptions":
        from latentsync.config.options import SyncOptions

        return SyncOptions
    if name in ("Lipsync", "Result"):
        from latentsync import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'latentsync' has no attribute {name!r}")
