"""Media floor: `probe`, VideoReader, VideoWriter, AudioReader, lengths. `pixels` is the only uint8↔float code."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "AudioInfo": "information", "MediaInfo": "information", "VideoInfo": "information", "probe": "information",
    "PlanarPicture": "pixels", "RgbPicture": "pixels",
    "VideoReader": "reader", "Prefetch": "threads",
    "AudioPlan": "sound_track", "Insert": "mixing", "MixPlan": "mixing", "VideoWriter": "writer",
    "fit_frames": "lengths", "fit_length": "lengths",
    "AudioReader": "audio", "read_audio": "audio", "write_wav": "audio",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"latentsync.media.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
