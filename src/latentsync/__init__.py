"""LatentSync: give it a video of someone speaking and any speech; it returns the same video saying the new words.

Importing the package is cheap: each name is loaded when it is first asked for, and `Lipsync` brings torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["LatentSyncError", "Lipsync", "Result", "SyncOptions", "__version__"]

if TYPE_CHECKING:
    from latentsync.config.options import SyncOptions
    from latentsync.core.errors import LatentSyncError
    from latentsync.pipeline import Lipsync, Result


def __getattr__(name: str) -> Any:
    if name == "SyncOptions":
        from latentsync.config.options import SyncOptions

        return SyncOptions
    if name == "LatentSyncError":
        from latentsync.core.errors import LatentSyncError

        return LatentSyncError
    if name in ("Lipsync", "Result"):
        from latentsync import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'latentsync' has no attribute {name!r}")
