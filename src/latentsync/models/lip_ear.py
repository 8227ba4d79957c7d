"""What speech says of the lips: how far they are open at each frame, read off the states of the shipped listener."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latentsync.core.errors import WeightsError
from latentsync.models.hearing import StreamingListener, sound_of
from latentsync.models.listener import Listener

FPS = 25
SAMPLES_PER_STATE = 320
HOME = Path(__file__).parents[1] / "assets" / "lip_ear"
LISTENER_HOME = Path(__file__).parents[1] / "assets" / "tiny"


class LipEar(nn.Module):
    """Windows of the listener's states (n, K·D) → opening of the lips (n,), see `metrics.lips.told_opening`."""

    def __init__(self, heard: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(heard, width)
        self.linear_2 = nn.Linear(width, 1)

    def forward(self, heard: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(heard)))[:, 0]


class SoundReader:
    """Reads the opening of the lips off sound: the shipped listener and the ear that was fitted to it."""

    def __init__(self, listener: Listener, ear: LipEar) -> None:
        self.listener, self.ear = listener, ear

    @torch.inference_mode()
    def read(self, wave: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
        """Opening at frames 0 … num_frames − 1 of sound that begins with the first: (F,) float32.

        Args: wave: (S,) mono, 16 kHz; silence is heard after its end.
        """
        return self.ear(hear(self.listener, wave, num_frames).flatten(1)).numpy()


def hear(listener: Listener, wave: NDArray[np.float32], num_frames: int) -> Tensor:
    """States of the listener around each frame: (F, K, D) float32, silence after the end included."""
    silence = np.zeros(listener.positions * SAMPLES_PER_STATE, np.float32)
    sound = sound_of(np.concatenate([np.asarray(wave, np.float32), silence]))
    times = [Fraction(i, FPS) for i in range(num_frames)]
    return torch.stack(list(StreamingListener(listener).windows(sound, times))).float()


def load_sound_reader(home: Path = HOME, listener_home: Path = LISTENER_HOME) -> SoundReader:
    """The shipped one.

    Raises: WeightsError: a file is missing or damaged, or the ear was fitted to another listener (recipes/lip_ear.py
        fits it anew).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from latentsync.models.weights.index import read_index
    from latentsync.models.weights.layout import load_part

    try:
        told = json.loads((home / "config.json").read_text(encoding="utf-8"))
        ear = LipEar(told["heard"], told["width"])
        ear.load_state_dict({key: value.float() for key, value in load_file(home / "model.safetensors").items()})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{home}: cannot be read ({error}). Install latentsync again.") from error
    if read_index(listener_home).parts["listener"].files["model.safetensors"] != told["listener"]:
        raise WeightsError(f"{home}: was fitted to another listener. Run recipes/lip_ear.py")
    listener = load_part(listener_home, "listener")
    if not isinstance(listener, Listener):
        raise WeightsError(f"{listener_home}: its listener is a {type(listener).__name__}. Run recipes/lip_ear.py")
    return SoundReader(listener, ear.eval().requires_grad_(False))


def write_ear(ear: LipEar, told: dict[str, object], home: Path) -> None:
    """`model.safetensors` in half precision, and `config.json`: `listener` (its hash), `heard` and `width`."""
    from safetensors.torch import save_file

    from latentsync.core.files import atomic_path

    home.mkdir(parents=True, exist_ok=True)
    with atomic_path(home / "model.safetensors") as part:
        save_file({key: value.detach().half().contiguous() for key, value in ear.state_dict().items()}, part)
    with atomic_path(home / "config.json") as part:
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
