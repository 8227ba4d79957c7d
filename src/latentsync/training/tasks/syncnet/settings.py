"""Settings of SyncNet's training: the `task:` section of its presets, and what the network looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from latentsync.config.checked import checked, refuse_unknown
from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError
from latentsync.training.datasets import AugmentationRange, SoundRange
from latentsync.training.datasets.augment import NO_AUGMENTATION, NO_SOUND_CHANGE

Loss = Literal["bce", "contrastive"]
COLUMNS_PER_S, FPS = 80, 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Negatives:
    """Kinds of wrong pairs, as weights. Official: another time of the same clip, nothing else.

    Attributes:
        other_time: anywhere else in the same clip.
        near: up to `near_frames` frames away.
        other_clip: sound of another clip.
    """

    other_time: float = 1.0
    near: float = 0.0
    other_clip: float = 0.0
    near_frames: int = 5

    def __post_init__(self) -> None:
        if min(self.other_time, self.near, self.other_clip) < 0 or self.other_time + self.near + self.other_clip <= 0:
            raise ConfigError("task.negatives", self.other_time, "choose weights from 0, one of them above 0")
        if self.near_frames < 1:
            raise ConfigError("task.negatives.near_frames", self.near_frames, "choose 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncNetSettings:
    """What SyncNet learns from.

    Attributes:
        network: preset of kind "syncnet", or a YAML file of that form.
        loss: "bce" = an example is one pair, right or wrong, and the cosine is its probability (official).
            "contrastive" = an example is a clip: each of its picture windows has to find its own sound window among all
            of the batch and the other way round; learns faster from small batches.
        windows: picture windows from each clip (contrastive).
        more_sounds: sound windows beyond those, which fit none of the pictures (contrastive).
        spacing: least frames between windows of one clip; nearer pairs count as neither right nor wrong (contrastive).
        near_sounds: so many of `more_sounds` lie nearer to a picture window than `spacing`, and every other frame
            is a wrong answer of the choice: for the end of a training, to find an offset to the frame. The probability
            still leaves nearer pairs out (contrastive).
        other_clips: windows of other clips are wrong answers too; else those of the same clip alone (contrastive).
        temperature: of the cosine in the contrast.
        probability: weight of the binary cross-entropy that keeps the cosine a probability (contrastive).
        lips: weight of reading the opening of the lips from both embeddings; needs the mesh (contrastive).
        negatives: wrong pairs of "bce".
        look, sound: changes of the clips while training; None = as they are (official).
        sound_variants: changes of each clip's sound; their mel is computed once and kept.
        autoencoder: folder or file, for a network on latents.
        leave_out_short: train without clips that are too short, instead of an error.
        judged_clips: most held-out clips of each source in a validation.
        judged_every: frames between the picture windows that are judged.
        judge_bf16: judge in bfloat16, faster where the processor has it; cosines change by about 0.01.
    """

    network: str = "16_pixel_attn"
    loss: Loss = "bce"
    windows: int = 4
    more_sounds: int = 4
    spacing: int = 3
    near_sounds: int = 0
    other_clips: bool = True
    temperature: float = 0.07
    probability: float = 1.0
    lips: float = 0.0
    negatives: Negatives = field(default_factory=Negatives)
    look: AugmentationRange = NO_AUGMENTATION
    sound: SoundRange = NO_SOUND_CHANGE
    sound_variants: int = 8
    autoencoder: str | None = None
    leave_out_short: bool = False
    judged_clips: int = 60
    judged_every: int = 4
    judge_bf16: bool = False

    def __post_init__(self) -> None:
        if self.loss not in ("bce", "contrastive"):
            raise ConfigError("task.loss", self.loss, "choose bce or contrastive")
        for name in ("windows", "spacing", "sound_variants", "judged_clips", "judged_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 1 or more")
        for name in ("more_sounds", "probability", "lips"):
            if getattr(self, name) < 0:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 0 or more")
        if not 0 <= self.near_sounds <= self.more_sounds:
            raise ConfigError("task.near_sounds", self.near_sounds, f"choose 0 to more_sounds ({self.more_sounds})")
        if not 0.001 <= self.temperature <= 1:
            raise ConfigError("task.temperature", self.temperature, "choose 0.001 to 1")


def syncnet_settings(values: Mapping[str, Any]) -> SyncNetSettings:
    """The `task:` section, checked. Raises ConfigError: unknown key, wrong kind, out of range."""
    without = {"negatives": Negatives(), "look": NO_AUGMENTATION, "sound": NO_SOUND_CHANGE}
    given = {key: without[key] if key in without and value is None else value for key, value in values.items()}
    return checked(SyncNetSettings, given, "task")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a SyncNet looks at.

    Attributes:
        num_frames: of a window.
        input: "pixel" or "latent".
        resolution: side of the crops it is shown, pixels.
        lower_half: rows resolution/2 … only.
        model: its two encoders, as `SyncNet.from_config` takes them.
    """

    num_frames: int
    input: Literal["pixel", "latent"]
    resolution: int
    lower_half: bool
    model: Mapping[str, Any]

    @property
    def columns(self) -> int:
        """Mel columns of a window: ceil(16·F/5); docs/method.md#syncnet-mel."""
        return -(-self.num_frames * 16 // 5)

    def num_starts(self, num_frames: int, num_columns: int) -> int:
        """Windows of a clip that have all of their pictures and sound."""
        by_sound = -(-max(0, num_columns - self.columns + 1) * FPS // COLUMNS_PER_S)  # column(s) ≤ T − width
        return max(0, min(num_frames - self.num_frames + 1, by_sound))

    def column(self, start: int) -> int:
        """First mel column of the window that starts with a frame: floor(3.2·start)."""
        return start * COLUMNS_PER_S // FPS


def view_of(network: str) -> View:
    """From a preset of kind "syncnet" or a file. Raises ConfigError: incomplete, or encoders don't fit the window."""
    described: Any = load_preset(network, "syncnet")
    known = ("num_frames", "input", "resolution", "lower_half", "model")
    refuse_unknown(described, known, network)
    kind = described.get("input", "pixel")
    if kind not in ("pixel", "latent"):
        raise ConfigError(f"{network}.input", kind, "choose pixel or latent")
    if "num_frames" not in described or "model" not in described:
        raise ConfigError(f"{network}", sorted(described), "give num_frames and model")
    view = View(
        num_frames=int(described["num_frames"]),
        input=kind,
        resolution=int(described.get("resolution", 256)),
        lower_half=bool(described.get("lower_half", kind == "pixel")),
        model=described["model"],
    )
    channels = int(view.model["visual_encoder"]["in_channels"])
    if channels % view.num_frames or (kind == "pixel" and channels != 3 * view.num_frames):
        raise ConfigError(f"{network}.model.visual_encoder.in_channels", channels, f"choose {3 * view.num_frames}")
    return view
