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

from latentsync.audio.windows import position_code
from latentsync.models.hearing import StreamingListener, sound_of
from latentsync.models.listener import Listener

FPS = 25
SAMPLES_PER_STATE = 320


def load_component(folder: Path, kind: Any) -> Any:
    """A component written as `config.json` and `model.safetensors`, in evaluation mode, without gradients."""
    module = kind.from_config(json.loads((folder / "config.json").read_text()))
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval().requires_grad_(False)


def hear(listener: Listener, wave: np.ndarray, num_frames: int) -> Tensor:
    """Windows (num_frames, K, D) of a clip at 25 fps: what the pipeline hears, silence after the end included."""
    silence = np.zeros(listener.positions * SAMPLES_PER_STATE, np.float32)
    sound = sound_of(np.concatenate([wave, silence]))
    times = [Fraction(i, FPS) for i in range(num_frames)]
    windows = torch.stack(list(StreamingListener(listener).windows(sound, times)))
    return windows + position_code(*windows.shape[1:])
