"""From audio features to lip parameters."""

from latentsync.training.tasks.lip_predictor.task import build

__all__ = ["build"]
