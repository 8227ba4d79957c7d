"""How a checkpoint wants to be run: read from its `model_index.json`, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from latentsync.config import renamed
from latentsync.config.checked import checked
from latentsync.config.options import Silence
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.diffusion import SamplerConfig
from latentsync.faces.masks import MASKS
from latentsync.generation.tiny.config import TinyConfig

SAMPLER_KEYS = {"scheduler": "kind", "prediction": "prediction", "steps": "steps", "guidance": "guidance"}
"""Settings of a model that are those of its sampler."""
FIXED: dict[str, object] = {
    "audio_window": [2, 2], "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
}  # fmt: skip
"""Settings of released models that have one value."""
RANGES = {
    "resolution": (8, 4096), "num_frames": (1, 1024), "overlap_frames": (0, 1023), "fps": (1.0, 1000.0),
    "trailing_silence_s": (0.0, 60.0), "feather": (0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """Facts of a trained model that are not in its tensors.

    Attributes:
        resolution: side of the crop, pixels.
        num_frames: frames denoised together, as trained.
        fps: spacing of the frames in training.
        mask: name of the inpainting mask.
        paste_mask: name of the mask inside which the generated crop is laid over the frame; None = `mask`. A
            smaller one keeps the frame's own cheeks and jaw, which a small model draws less sharply.
        sampler: what the U-Net predicts, default steps and guidance.
        overlap_frames: default overlap of chunks.
        trailing_silence_s: silence that the audio encoder is given after the end of the speech. 0 = its window is
            filled up as Whisper's is; an encoder that was trained on full windows wants one window of it.
        position_code: `audio.windows.position_code` is added to each frame's audio features.
        silence: default of what the mouth does where nobody speaks.
        feather: width of the paste border, share of the crop's side.
        tiny: how the small model is run (`generation.tiny`); None = as the paper's (`generation.latentsync`).
    """

    resolution: int
    num_frames: int = 16
    fps: float = 25.0
    mask: str = "mask"
    paste_mask: str | None = None
    sampler: SamplerConfig = SamplerConfig()  # noqa: RUF009 - frozen
    overlap_frames: int = 0
    trailing_silence_s: float = 0.0
    position_code: bool = False
    silence: Silence = "model"
    feather: float = 10 / 256
    tiny: TinyConfig | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)} is not a number from {low:g} to {high:g}")
        if self.overlap_frames >= self.num_frames:
            raise ValueError(f"overlap_frames {self.overlap_frames} is not less than num_frames {self.num_frames}")
        if self.silence not in get_args(Silence):
            raise ValueError(f"silence {self.silence!r} is none of {', '.join(get_args(Silence))}")
        for name, mask in (("mask", self.mask), ("paste_mask", self.paste_mask)):
            if mask is not None and mask not in MASKS:
                raise ValueError(f"{name} {mask!r} is none of {', '.join(MASKS)}")

    @classmethod
    def from_index(cls, settings: Mapping[str, Any], model: str) -> ModelSettings:
        """From the settings of a model folder or of a named model.

        Raises: WeightsError: the resolution is missing, or a value cannot be used.
        """
        if "resolution" not in settings:
            fix = "Convert it with `latentsync models convert --resolution 256` (1.5) or 512 (1.6)"
            raise WeightsError(f"{model}: the file does not say which resolution it was trained at. {fix}")
        try:
            settings = renamed.model_settings(settings)
            fixed = {key: settings[key] for key in FIXED if key in settings}
            for key, value in fixed.items():
                if value != FIXED[key]:
                    raise ValueError(f"{key} {value!r} is not {FIXED[key]!r}, which alone is supported")
            given = {name: settings[key] for key, name in SAMPLER_KEYS.items() if key in settings}
            sampler = checked(SamplerConfig, {"guidance": 1.0, **given})
            own = {key: value for key, value in settings.items() if key not in SAMPLER_KEYS and key not in FIXED}
            return checked(cls, own, sampler=sampler)
        except (TypeError, ValueError, ConfigError) as error:
            raise WeightsError(f"{model}: its settings cannot be used ({error}). Convert the model again") from error
