"""Settings of the small autoencoder's training: the `task:` section of its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionWeights:
    """What each loss counts. 0 = it is not computed.

    Attributes:
        l1: absolute difference of pixels in [−1, 1].
        laplacian: the same of three bands of detail; see `laplacian_loss`.
        size: mean square of the raw latents, so that their scale does not drift.
        mouth: what a pixel of the mouth region counts beside one elsewhere, in the two pixel terms.
        perceptual: distance in a network's features; needs `task.perceptual`.
        discriminator: opinion of a discriminator that is trained beside it. Best with `--start` from a run without.
        features: distance of the discriminator's own features.
    """

    l1: float = 1.0
    laplacian: float = 1.0
    size: float = 1e-4
    mouth: float = 1.0
    perceptual: float = 0.0
    discriminator: float = 0.0
    features: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) >= 0:
                raise ConfigError(f"task.weights.{each.name}", getattr(self, each.name), "choose 0 or more")
        if self.mouth <= 0:
            raise ConfigError("task.weights.mouth", self.mouth, "choose above 0; 1 = like the rest of the face")
        if self.features > 0 and self.discriminator <= 0:
            raise ConfigError(
                "task.weights.features", self.features, "they are the discriminator's: set weights.discriminator too"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourRange:
    """How far colours may go, drawn for each piece. All zero = as filmed.

    Attributes:
        gain: brightness ± this share.
        tint: of each colour ± this share on top.
        offset: ± this, of a range of [−1, 1].
    """

    gain: float = 0.25
    tint: float = 0.12
    offset: float = 0.15

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 0.9:
                raise ConfigError(f"task.colour.{each.name}", getattr(self, each.name), "choose 0 to 0.9")


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderSettings:
    """What the small autoencoder learns from.

    Attributes:
        network: see `TinyAutoencoderConfig`, without the statistics of the latents, which are measured at the end.
        side: of the square pieces that are cut from the crops, pixels.
        lower: share of pieces from the lower three quarters of the crop, where the mouth is.
        shrunk: share of pieces cut up to twice as large and made smaller.
        colour: changes of colour.
        latent_noise: noise on the latents in training, as a share of their spread: keeps the decoder smooth.
        weights: of the losses.
        perceptual: features to compare in: an autoencoder (`tiny`, `1.5`, folder, file), or `{vgg: FILE, lpips: FILE}`
            for LPIPS; None = none.
        discriminator_widths: channels of the discriminator's levels.
        discriminator_learning_rate: times the autoencoder's.
        statistics_crops: training crops that the latents' mean and spread are measured on.
        judged_clips: most held-out clips in a validation; every 15th of their crops is judged.
    """

    network: Mapping[str, Any] = field(default_factory=dict)
    side: int = 128
    lower: float = 0.75
    shrunk: float = 0.3
    colour: ColourRange = ColourRange()
    latent_noise: float = 0.05
    weights: ReconstructionWeights = ReconstructionWeights()
    perceptual: Any = None
    discriminator_widths: tuple[int, ...] = (48, 96, 192, 256)
    discriminator_learning_rate: float = 0.5
    statistics_crops: int = 200
    judged_clips: int = 24

    def __post_init__(self) -> None:
        for name in ("lower", "shrunk"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose a share, 0 to 1")
        for name in ("side", "statistics_crops", "judged_clips"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 1 or more")
        if not 0 <= self.latent_noise < 1:
            raise ConfigError("task.latent_noise", self.latent_noise, "choose 0 or more, less than 1")
        if (self.weights.perceptual > 0) != (self.perceptual is not None):
            raise ConfigError("task.perceptual", self.perceptual, "set it and weights.perceptual, or neither")
        if (
            len(self.discriminator_widths) < 2
            or min(self.discriminator_widths) < 1
            or self.discriminator_learning_rate <= 0
        ):
            raise ConfigError(
                "task.discriminator_widths", self.discriminator_widths, "choose two widths or more, and a rate above 0"
            )


def autoencoder_settings(values: Mapping[str, Any]) -> AutoencoderSettings:
    """The `task:` section, checked. Raises ConfigError: unknown key, wrong kind, out of range."""
    return checked(AutoencoderSettings, values, "task")
