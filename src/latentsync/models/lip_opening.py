"""What speech says of the lips: how far they are open at each frame, read off the states of the shipped audio
encoder."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.core.errors import WeightsError
from latentsync.core.rates import SAMPLES_PER_STATE
from latentsync.models.audio_encoder import AudioEncoder

FPS = 25
HOME = Path(__file__).parents[1] / "assets" / "lip_opening"
AUDIO_ENCODER_HOME = Path(__file__).parents[1] / "assets" / "tiny"


class LipOpeningPredictor(nn.Module):
    """Windows of the audio encoder's states (n, K·D) → opening of the lips (n,), see `metrics.lips.audible_opening`."""

    def __init__(self, audio_features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(audio_features, width)
        self.linear_2 = nn.Linear(width, 1)

    def forward(self, audio_features: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(audio_features)))[:, 0]


class LipOpeningReader:
    """Reads the opening of the lips off sound: the shipped audio encoder and the lip opening that was fitted to it."""

    def __init__(self, audio_encoder: AudioEncoder, lip_opening: LipOpeningPredictor) -> None:
        self.audio_encoder, self.lip_opening = audio_encoder, lip_opening

    @torch.inference_mode()
    def read(self, wave: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
        """Opening at frames 0 … num_frames − 1 of sound that begins with the first: (F,) float32.

        Args: wave: (S,) mono, 16 kHz; silence is heard after its end.
        """
        return self.lip_opening(features_of_clip(self.audio_encoder, wave, num_frames).flatten(1)).numpy()


def features_of_clip(audio_encoder: AudioEncoder, wave: NDArray[np.float32], num_frames: int) -> Tensor:
    """States of the audio encoder around each frame: (F, K, D) float32, silence after the end included."""
    silence = np.zeros(audio_encoder.positions * SAMPLES_PER_STATE, np.float32)
    sound = sound_of(np.concatenate([np.asarray(wave, np.float32), silence]))
    times = [Fraction(i, FPS) for i in range(num_frames)]
    return torch.stack(list(StreamingAudioEncoder(audio_encoder).windows(sound, times))).float()


def load_lip_opening_reader(home: Path = HOME, audio_encoder_home: Path = AUDIO_ENCODER_HOME) -> LipOpeningReader:
    """The shipped one.

    Raises: WeightsError: a file is missing or damaged, or the lip opening was fitted to another audio encoder
    (recipes/lip_opening.py
        fits it anew).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from latentsync.models.weights.index import read_index, read_json
    from latentsync.models.weights.layout import load_part

    try:
        predicted = read_json(home / "config.json")
        lip_opening = LipOpeningPredictor(predicted["audio_features"], predicted["width"])
        lip_opening.load_state_dict(
            {key: value.float() for key, value in load_file(home / "model.safetensors").items()}
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{home}: cannot be read ({error}). Install latentsync again.") from error
    if read_index(audio_encoder_home).parts["audio_encoder"].files["model.safetensors"] != predicted["audio_encoder"]:
        raise WeightsError(f"{home}: was fitted to another audio encoder. Run recipes/lip_opening.py")
    audio_encoder = load_part(audio_encoder_home, "audio_encoder")
    if not isinstance(audio_encoder, AudioEncoder):
        raise WeightsError(
            f"{audio_encoder_home}: its audio encoder is a {type(audio_encoder).__name__}. Run recipes/lip_opening.py"
        )
    return LipOpeningReader(audio_encoder, lip_opening.eval().requires_grad_(False))


def write_lip_opening_predictor(lip_opening: LipOpeningPredictor, predicted: dict[str, object], home: Path) -> None:
    """`model.safetensors` in half precision, and `config.json`: `audio_encoder` (its hash), `audio_features` and
    `width`."""
    from safetensors.torch import save_file

    from latentsync.core.files import atomic_path

    home.mkdir(parents=True, exist_ok=True)
    with atomic_path(home / "model.safetensors") as part:
        save_file({key: value.detach().half().contiguous() for key, value in lip_opening.state_dict().items()}, part)
    with atomic_path(home / "config.json") as part:
        part.write_text(json.dumps(predicted, indent=1) + "\n", encoding="utf-8")
