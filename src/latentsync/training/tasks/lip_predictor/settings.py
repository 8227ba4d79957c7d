"""Settings of the lip predictor's training: the `task:` section of its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError
from latentsync.training.datasets import SoundRange


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceSettings:
    """Synthetic sentences without pictures, see `training.tasks.lip_predictor.sentences`.

    Attributes:
        truth: folders that `latentsync synth` wrote, from which clips of the data were built.
        count, seconds: of the sentences.
        share: of what is said in the windows.
    """

    truth: tuple[str, ...] = ()
    count: int = 560
    seconds: float = 4.0
    share: float = 0.35

    def __post_init__(self) -> None:
        if not self.truth:
            raise ConfigError("task.sentences.truth", [], "name the folder that `latentsync synth` wrote")
        if self.count < 1 or self.seconds < 1:
            raise ConfigError("task.sentences.count", self.count, "choose 1 or more, of 1 s or more")
        if not 0 < self.share < 1:
            raise ConfigError("task.sentences.share", self.share, "choose a share between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LipPredictorSettings:
    """How an audio encoder and a lip predictor learn the code of the lips.

    Attributes:
        code, width: numbers of the code; width of the lip predictor's hidden layers: those of the U-Net it is for.
        opening: weight of the error of the lip opening, beside 1 for that of the code.
        closed: weight, beside 1, of the error of the opening where the mouth is closed. Who is unsure whether it was
            a p would leave it half open else.
        rounding: weight of the error of the mouth's width, and of 1 − r of it within each piece: rounded and spread
            lips. How wide a mouth is varies less than how far it is open, so that its error counts for little else.
        change: weight of the error of the code's change from frame to frame.
        correlation: weight of 1 − r of the lip opening, within each piece of a window.
        kept: weight of what the audio encoder's states are moved by, as a share of their variance. Above 0, a U-Net
            that was trained on the states of the start need not learn them anew.
        audio_encoder_rate: the audio encoder learns this much slower than the lip predictor.
        even: people who open their mouths more than others of their source are brought this much of the way, in
            decades, to its mean: nobody hears how far a stranger opens the mouth.
        silent: share of windows in which nobody speaks and the mouth is closed.
        pauses: share of pieces that a pause of up to 0.8 s follows, with a closed mouth.
        sentences: synthetic sentences without pictures; None = the clips alone.
        parts: share of what is said that is a part of a sentence, of `PIECE` frames with random ends, so that what
            comes before and after says little. An audio encoder with 5 s of context else learns the sentences of its
            few speakers.
        speed: ± this share. warp: of the frequencies, ± this in powers of e.
        sound, room, band, colour: see `AudioEncoderSettings`.
        levels: share of windows whose loudest sample lies anywhere from 50 dB below full scale up to it.
        dropout: share of the lip predictor's hidden values left out. noise: on its standardised input, from 0 to this.
    """

    code: int = 10
    width: int = 384
    opening: float = 0.2
    closed: float = 3.0
    change: float = 0.5
    correlation: float = 0.3
    rounding: float = 0.0
    kept: float = 4.0
    audio_encoder_rate: float = 0.3
    even: float = 0.5
    silent: float = 0.06
    pauses: float = 0.4
    parts: float = 0.5
    sentences: SentenceSettings | None = None
    speed: float = 0.15
    warp: float = 0.1
    sound: SoundRange = field(default_factory=lambda: SoundRange(noise=0.7, least_snr_db=5.0))
    room: float = 0.4
    band: float = 0.2
    colour: float = 0.25
    levels: float = 0.0
    dropout: float = 0.3
    noise: float = 0.3

    def __post_init__(self) -> None:
        for name in ("code", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 1 or more")
        for name in ("opening", "closed", "change", "correlation", "rounding", "kept", "colour", "noise"):
            if getattr(self, name) < 0:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 0 or more")
        for name, most in (("even", 1), ("silent", 1), ("pauses", 1), ("parts", 1), ("room", 1), ("band", 1),
                           ("levels", 1),
                           ("speed", 0.5), ("warp", 0.5), ("dropout", 0.9), ("audio_encoder_rate", 10)):  # fmt: skip
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"task.{name}", getattr(self, name), f"choose 0 to {most}")


def lip_predictor_settings(values: Mapping[str, Any]) -> LipPredictorSettings:
    """The `task:` section, checked. Raises ConfigError: unknown key, wrong kind, out of range."""
    return checked(LipPredictorSettings, values, "task")
