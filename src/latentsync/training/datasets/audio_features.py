"""Networks around the one that is trained: loaded, and what they hear."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.audio.windows import position_code
from latentsync.core.rates import SAMPLES_PER_STATE, SPEECH_RATE_HZ
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.training.datasets.augment import SoundRange, change_sound
from latentsync.training.datasets.cache import ArrayCache, content_of, module_hash
from latentsync.training.datasets.clips import AnyClip

FPS = 25


def load_component(folder: Path, kind: Any) -> Any:
    """A component written as `config.json` and `model.safetensors`, in evaluation mode, without gradients."""
    module = kind.from_config(json.loads((folder / "config.json").read_text()))
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval().requires_grad_(False)


def features_of_clip(audio_encoder: AudioEncoder, wave: np.ndarray, num_frames: int) -> Tensor:
    """Windows (num_frames, K, D) of a clip at 25 fps: what the pipeline hears, silence after the end included."""
    silence = np.zeros(audio_encoder.positions * SAMPLES_PER_STATE, np.float32)
    sound = sound_of(np.concatenate([wave, silence]))
    times = [Fraction(i, FPS) for i in range(num_frames)]
    windows = torch.stack(list(StreamingAudioEncoder(audio_encoder).windows(sound, times)))
    return windows + position_code(*windows.shape[1:])


class ClipAudioFeatures:
    """The states of an audio encoder in clips, computed once per clip and change of sound."""

    def __init__(self, audio_encoder: AudioEncoder, cache: ArrayCache, limits: SoundRange) -> None:
        self.audio_encoder, self.cache, self.limits = audio_encoder, cache, limits
        self.model = module_hash(audio_encoder)
        self.known: dict[tuple[str, int], Tensor] = {}

    def __call__(self, clip: AnyClip, change: int = 0) -> Tensor:
        """(F, K, D) float16 of a clip's sound; 0 = as it is, other numbers = changed within the limits."""
        content = content_of(clip)
        if (content, change) not in self.known:
            made_from = (content, self.model, repr(self.limits) if change else "", str(change))

            def make() -> np.ndarray:
                wave = np.array(clip.wave)
                if change:
                    wave = change_sound(wave, np.random.default_rng([int(content[:15], 16), change]), self.limits)
                return features_of_clip(self.audio_encoder, wave, len(clip.crops)).half().numpy()

            self.known[content, change] = torch.from_numpy(np.array(self.cache.get("audio_features", made_from, make)))
        return self.known[content, change]

    def silence(self, frames: int = 75) -> Tensor:
        """(2·frames, K, D) float16: digital silence, then faint noise, 60 dB below full scale."""
        count = frames * SPEECH_RATE_HZ // FPS
        faint = np.random.default_rng(0).normal(0, 1e-3, count).astype(np.float32)
        return torch.cat(
            [features_of_clip(self.audio_encoder, wave, frames) for wave in (np.zeros(count, np.float32), faint)]
        ).half()
