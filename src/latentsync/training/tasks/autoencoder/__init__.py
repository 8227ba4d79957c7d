"""The small autoencoder."""

from latentsync.training.tasks.autoencoder.task import build

__all__ = ["build"]
