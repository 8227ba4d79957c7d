"""Settings of the audio encoder's training: the `task:` section of its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError
from latentsync.training.datasets import SoundRange


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechSettings:
    """Synthetic speech beside that of the clips; see `latentsync.synth`.

    Attributes:
        voices: how many; the last `held_out` of them, and all of the same name, are never learnt from.
        seconds: of speech by each.
        share: of the sounds that are drawn from it.
        engines: "flite", "espeak", "piper"; empty = all that are installed.
    """

    voices: int = 60
    held_out: int = 8
    seconds: float = 20.0
    share: float = 0.5
    engines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.held_out < self.voices:
            raise ConfigError("task.speech.held_out", self.held_out, f"choose 1 to {self.voices - 1}")
        if self.seconds < 1:
            raise ConfigError("task.speech.seconds", self.seconds, "choose 1 or more")
        if not 0 < self.share < 1:
            raise ConfigError("task.speech.share", self.share, "choose a share between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioEncoderSettings:
    """What the audio encoder learns from.

    Attributes:
        network: see `AudioEncoderConfig`.
        teacher: "tiny.en", a Whisper file or folder, see `load_teacher`; None = no teacher.
        teacher_states: its hidden states that are learnt. 2, 3, 4 of tiny: phones are read best from the upper blocks.
        teacher_positions: length of its window; 250 = 5 s.
        steps: weight of the change from state to state, beside 1 for the states themselves.
        phones: weight of recognising phones; needs `speech`.
        speech: synthetic voices; None = the clips' speech alone.
        versions: of each sound: as it is, and at this many − 1 drawn speeds. The teacher hears each once.
        speed: ± this share.
        sound: changes of level, noise and tilt of each window.
        room, band, colour: share of windows with the echo of a room, with high frequencies cut as by a codec; spread of
            a smooth random curve over the mel bins, in decades.
        judged_clips, fitted_clips: most held-out clips in a validation; training clips its linear map is fitted on.
    """

    network: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = "tiny.en"
    teacher_states: tuple[int, ...] = (2, 3, 4)
    teacher_positions: int = 250
    steps: float = 0.25
    phones: float = 0.0
    speech: SpeechSettings | None = None
    versions: int = 3
    speed: float = 0.15
    sound: SoundRange = field(default_factory=SoundRange)
    room: float = 0.4
    band: float = 0.2
    colour: float = 0.25
    judged_clips: int = 24
    fitted_clips: int = 40

    def __post_init__(self) -> None:
        if self.teacher is None and self.phones <= 0:
            raise ConfigError(
                "task.teacher", None, "name a teacher, or set task.phones above 0: else nothing is learnt"
            )
        if self.phones > 0 and self.speech is None:
            raise ConfigError("task.phones", self.phones, "only synthetic speech has known phones: set task.speech")
        for name in ("phones", "steps", "colour"):
            if getattr(self, name) < 0:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 0 or more")
        for name in ("versions", "teacher_positions", "judged_clips", "fitted_clips"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 1 or more")
        for name, most in (("speed", 0.5), ("room", 1), ("band", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"task.{name}", getattr(self, name), f"choose 0 to {most}")
        if not self.teacher_states:
            raise ConfigError("task.teacher_states", [], "name one or more, as [2, 3, 4]")


def audio_encoder_settings(values: Mapping[str, Any]) -> AudioEncoderSettings:
    """The `task:` section, checked. Raises ConfigError: unknown key, wrong kind, out of range."""
    return checked(AudioEncoderSettings, values, "task")
