"""Fit the ear of the sync judge `ear`: opening of the lips from the states of the shipped listener.

    python recipes/lip_ear.py CLIPS[:N]... [--out src/latentsync/assets/lip_ear]

CLIPS are folders of `latentsync data build --training` (…/clips), N takes every N-th clip of a folder. Split `train` is
learnt from, people of `val` show how well it went. To be run again whenever the listener of `tiny` has changed. A
corpus of few people who all say sentences of one form wants an N: else the ear learns the form by heart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.metrics.lips import told_opening
from latentsync.models.lip_ear import HOME, LISTENER_HOME, LipEar, hear, write_ear
from latentsync.models.listener import Listener
from latentsync.models.weights.index import read_index
from latentsync.models.weights.layout import load_part
from latentsync.training.clips import load_clips

WIDTH, STEPS, BATCH = 64, 1500, 384
RATE, DECAY = 2e-3, 0.05
DROPOUT, NOISE = (0.2, 0.3), 0.5
"""Shares of what is heard and of the hidden values that are left out; noise on what is heard, in its own spread."""


def pairs(folders: list[str], split: str, listener: Listener) -> Iterator[tuple[Tensor, Tensor]]:
    """(F, K·D) heard and (F,) opening of each clip that is in sync."""
    for given in folders:
        folder, _, every = given.rpartition(":") if given.rpartition(":")[2].isdigit() else (given, "", "1")
        for clip in load_clips(Path(folder), split)[:: int(every)]:
            if not clip.in_sync:
                continue
            opening = torch.from_numpy(told_opening(clip.mesh))[: len(clip.crops)]
            with torch.inference_mode():
                heard = hear(listener, np.array(clip.wave), len(clip.crops)).flatten(1)
            yield heard.clone(), opening


def fit(heard: Tensor, opening: Tensor) -> LipEar:
    """The ear, with the spread of what is heard folded into its first layer."""
    mean, spread = heard.mean(dim=0), heard.std(dim=0) + 1e-3
    x, y = (heard - mean) / spread, opening[:, None]
    torch.manual_seed(0)
    ear = LipEar(heard.shape[1], WIDTH)
    net = nn.Sequential(nn.Dropout(DROPOUT[0]), ear.linear_1, nn.SiLU(), nn.Dropout(DROPOUT[1]), ear.linear_2)
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
        ear.linear_1.weight /= spread
        ear.linear_1.bias.sub_(ear.linear_1.weight @ mean)
    return ear.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--out", type=Path, default=HOME)
    args = parser.parse_args()
    listener = load_part(LISTENER_HOME, "listener")
    if not isinstance(listener, Listener):
        raise TypeError(f"{type(listener).__name__}: not a listener")
    train, val = (list(pairs(args.clips, split, listener)) for split in ("train", "val"))
    ear = fit(torch.cat([heard for heard, _ in train]), torch.cat([opening for _, opening in train]))
    listened = read_index(LISTENER_HOME).parts["listener"].files["model.safetensors"]
    write_ear(ear, {"listener": listened, "heard": train[0][0].shape[1], "width": WIDTH}, args.out)
    r = [float(np.corrcoef(ear(heard).numpy(), opening.numpy())[0, 1]) for heard, opening in val if opening.std() > 0]
    sys.stdout.write(f"{len(train)} clips learnt from; on {len(r)} of other people: r {np.median(r):.2f} (median)\n")


if __name__ == "__main__":
    main()
