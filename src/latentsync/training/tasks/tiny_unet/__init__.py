"""The U-Net of `tiny`."""

from latentsync.training.tasks.tiny_unet.task import build

__all__ = ["build"]
