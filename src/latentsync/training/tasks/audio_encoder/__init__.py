"""The audio encoder."""

from latentsync.training.tasks.audio_encoder.task import build

__all__ = ["build"]
