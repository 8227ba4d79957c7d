"""Settings of the U-Net's training: the `task:` section of its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError
from latentsync.training.engine.adapters import AdapterSettings

Prediction = Literal["epsilon", "x0"]
PARTS = ("autoencoder", "audio_encoder", "syncnet", "vgg", "lpips", "videomae")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """What each loss counts. 0 = it is not computed. Source of the presets' values: docs/method.md#training-stages.

    Attributes:
        reconstruction: squared error of what the network predicts.
        sync: SyncNet on decoded pixels.
        perceptual: LPIPS, or our feature distance, of the decoded lower half.
        trepa: temporal representation alignment of the decoded clip.
    """

    reconstruction: float = 1.0
    sync: float = 0.0
    perceptual: float = 0.0
    trepa: float = 0.0

    @property
    def need_pixels(self) -> bool:
        """Must the estimate be decoded?"""
        return self.perceptual > 0 or self.trepa > 0 or self.sync > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSettings:
    """How a validation is done.

    Attributes:
        clips: held-out clips that are looked at, spread over the people.
        levels: noise levels of the one-step error, shares of the whole schedule.
        steps: sampling steps of the generated clips; None = the model's.
        chunks: chunks generated per clip.
        track_lips: follow the generated mouths with the face mesh, where its files are installed.
    """

    clips: int = 4
    levels: tuple[float, ...] = (0.5, 0.75, 0.95)
    steps: int | None = None
    chunks: int = 2
    track_lips: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetSettings:
    """One U-Net training.

    Attributes:
        unet: architecture: a preset's name or the mapping itself; None = that of the start.
        resolution: side of the crop in pixels; None = the start's.
        num_frames: frames of a clip; None = the start's (16 without one).
        mask: name of the generated region; None = the start's, else "mask".
        prediction: "epsilon" (released) or "x0"; None = the start's, else "epsilon".
        position_code, trailing_silence_s: see `ModelSettings`; None = the start's.
        trainable: parts of the names of the parameters that are trained; empty = all of them.
        weights: of the losses.
        mixed_noise_alpha: see `losses.denoising.clip_noise`.
        condition_dropout: share of examples that hear nothing (zero tokens): trains the null condition of guidance.
        gradient_checkpointing: compute twice, keep less.
        components: part → file, folder, or name of a model; or a mapping with `class` and its config for random
            weights. What is missing comes from the start.
        adapter: train low-rank adapters only.
        check: of validations.
    """

    unet: str | dict[str, Any] | None = None
    resolution: int | None = None
    num_frames: int | None = None
    mask: str | None = None
    prediction: Prediction | None = None
    position_code: bool | None = None
    trailing_silence_s: float | None = None
    trainable: tuple[str, ...] = ()
    weights: LossWeights = LossWeights()
    mixed_noise_alpha: float = 1.0
    condition_dropout: float = 0.0
    gradient_checkpointing: bool = True
    components: dict[str, Any] = field(default_factory=dict)
    adapter: AdapterSettings | None = None
    check: CheckSettings = CheckSettings()

    def __post_init__(self) -> None:
        if self.prediction is not None and self.prediction not in get_args(Prediction):
            raise ConfigError("task.prediction", self.prediction, "choose epsilon or x0")
        if not 0 <= self.condition_dropout < 1:
            raise ConfigError("task.condition_dropout", self.condition_dropout, "choose 0 or more, less than 1")
        if not self.mixed_noise_alpha >= 0:
            raise ConfigError("task.mixed_noise_alpha", self.mixed_noise_alpha, "choose 0 or more")
        for key, least in (("resolution", 8), ("num_frames", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(f"task.{key}", value, f"choose {least} or more")
        for part in self.components:
            if part not in PARTS:
                raise ConfigError(f"task.components.{part}", self.components[part], f"choose from {', '.join(PARTS)}")
        for name in (each.name for each in fields(self.weights)):
            if not getattr(self.weights, name) >= 0:
                raise ConfigError(f"task.weights.{name}", getattr(self.weights, name), "choose 0 or more")
        if self.adapter is not None and self.trainable:
            raise ConfigError("task.trainable", list(self.trainable), "leave it out: only the adapter is trained")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> UNetSettings:
        """From the `task:` section. Raises ConfigError: an unknown key or a value that cannot be used."""
        return checked(cls, mapping, "task")
