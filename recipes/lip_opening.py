"""Fit the lip opening of the sync judge `lip_opening`: opening of the lips from the states of the shipped audio
encoder.

    python recipes/lip_opening.py CLIPS[:N]... [--out src/latentsync/assets/lip_opening]

CLIPS are folders of `latentsync data build --training` (…/clips), N takes every N-th clip of a folder. Split `train` is
learnt from, people of `val` show how well it went. To be run again whenever the audio encoder of `tiny` has changed. A
corpus of few people who all say sentences of one form wants an N: else the lip opening learns the form by heart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.metrics.lips import audible_opening
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.lip_opening import (
    AUDIO_ENCODER_HOME,
    HOME,
    LipOpeningPredictor,
    features_of_clip,
    write_lip_opening_predictor,
)
from latentsync.models.weights.index import read_index
from latentsync.models.weights.layout import load_part
from latentsync.training.datasets.clip_files import load_clips

WIDTH, STEPS, BATCH = 64, 1500, 384
RATE, DECAY = 2e-3, 0.05
DROPOUT, NOISE = (0.2, 0.3), 0.5
"""Shares of the audio features and of the hidden values that are left out; noise on the audio features, in its own
spread."""


def pairs(folders: list[str], split: str, audio_encoder: AudioEncoder) -> Iterator[tuple[Tensor, Tensor]]:
    """(F, K·D) heard and (F,) opening of each clip that is in sync."""
    for given in folders:
        folder, _, every = given.rpartition(":") if given.rpartition(":")[2].isdigit() else (given, "", "1")
        for clip in load_clips(Path(folder), split)[:: int(every)]:
            if not clip.in_sync:
                continue
            opening = torch.from_numpy(audible_opening(clip.mesh))[: len(clip.crops)]
            with torch.inference_mode():
                audio_features = features_of_clip(audio_encoder, np.array(clip.wave), len(clip.crops)).flatten(1)
            yield audio_features.clone(), opening


def fit(audio_features: Tensor, opening: Tensor) -> LipOpeningPredictor:
    """The lip opening, with the spread of the audio features folded into its first layer."""
    mean, spread = audio_features.mean(dim=0), audio_features.std(dim=0) + 1e-3
    x, y = (audio_features - mean) / spread, opening[:, None]
    torch.manual_seed(0)
    lip_opening = LipOpeningPredictor(audio_features.shape[1], WIDTH)
    net = nn.Sequential(
        nn.Dropout(DROPOUT[0]), lip_opening.linear_1, nn.SiLU(), nn.Dropout(DROPOUT[1]), lip_opening.linear_2
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,))
        noisy = x[chosen]
        noisy = noisy + torch.randn_like(noisy) * torch.rand(BATCH, 1) * NOISE
        loss = (net(noisy) - y[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        lip_opening.linear_1.weight /= spread
        lip_opening.linear_1.bias.sub_(lip_opening.linear_1.weight @ mean)
    return lip_opening.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--out", type=Path, default=HOME)
    args = parser.parse_args()
    audio_encoder = load_part(AUDIO_ENCODER_HOME, "audio_encoder")
    if not isinstance(audio_encoder, AudioEncoder):
        raise TypeError(f"{type(audio_encoder).__name__}: not an audio encoder")
    train, val = (list(pairs(args.clips, split, audio_encoder)) for split in ("train", "val"))
    lip_opening = fit(
        torch.cat([audio_features for audio_features, _ in train]), torch.cat([opening for _, opening in train])
    )
    listened = read_index(AUDIO_ENCODER_HOME).parts["audio_encoder"].files["model.safetensors"]
    write_lip_opening_predictor(
        lip_opening, {"audio_encoder": listened, "audio_features": train[0][0].shape[1], "width": WIDTH}, args.out
    )
    r = [
        float(np.corrcoef(lip_opening(audio_features).numpy(), opening.numpy())[0, 1])
        for audio_features, opening in val
        if opening.std() > 0
    ]
    sys.stdout.write(f"{len(train)} clips learnt from; on {len(r)} of other people: r {np.median(r):.2f} (median)\n")


if __name__ == "__main__":
    main()
