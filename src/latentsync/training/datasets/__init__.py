"""Training data: sources of clips, how they are mixed, changed, and what is kept of them."""

from latentsync.training.datasets.augment import (
    Augmentation,
    AugmentationRange,
    SoundRange,
    augment,
    change_sound,
    draw_augmentation,
)
from latentsync.training.datasets.cache import ArrayCache, content_of, module_hash
from latentsync.training.datasets.clips import AnyClip, LazyClip, num_frames
from latentsync.training.datasets.mixture import Mixture, Source, TrainingData, long_enough, open_data

__all__ = [
    "AnyClip",
    "ArrayCache",
    "Augmentation",
    "AugmentationRange",
    "LazyClip",
    "Mixture",
    "SoundRange",
    "Source",
    "TrainingData",
    "augment",
    "change_sound",
    "content_of",
    "draw_augmentation",
    "long_enough",
    "module_hash",
    "num_frames",
    "open_data",
]
