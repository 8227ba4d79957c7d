"""Synthetic talking heads: unlimited people whose mouths, words and poses are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.synth.config import SynthConfig
    from latentsync.synth.dataset import render_dataset
    from latentsync.synth.studio import Clip, clips, make_clips
    from latentsync.synth.truth import Truth

_HOME = {
    "Clip": "studio",
    "clips": "studio",
    "make_clips": "studio",
    "SynthConfig": "config",
    "render_dataset": "dataset",
    "Truth": "truth",
}
__all__ = ["Clip", "SynthConfig", "Truth", "clips", "make_clips", "render_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
