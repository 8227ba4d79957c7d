"""SyncNet."""

from latentsync.training.tasks.syncnet.task import build

__all__ = ["build"]
