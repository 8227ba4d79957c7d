"""The paper's U-Net, stages 1 and 2."""

from latentsync.training.tasks.unet.task import build

__all__ = ["build"]
