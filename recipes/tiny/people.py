"""Draw held-out people side by side: a row of the source, a row of the same person driven by somebody else's speech.

python recipes/tiny/people.py --data D --data E --people 12 --out docs/pictures/tiny-people.jpg
"""

from __future__ import annotations

import argparse
from importlib import resources
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import torch

from latentsync.faces import MeshTracker
from latentsync.models import UNet
from latentsync.models.listener import Listener
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.weights.index import read_index
from latentsync.pipeline.settings import ModelSettings
from latentsync.training.datasets import SoundRange, num_frames, open_data
from latentsync.training.features import load_component
from latentsync.training.few_step import FewStepConfig, FewStepObjective
from latentsync.training.few_step_check import drives_of, opening_of, references_of, render
from latentsync.training.few_step_data import STILL_FRAMES, Hearing

FRAMES = 7
PART = (slice(88, 240), slice(36, 220))
"""Rows and columns of the 256 px crop that are shown."""


def config_of(settings: ModelSettings) -> FewStepConfig:
    """How a model was trained to draw, as far as its folder says."""
    told = {name: getattr(settings, name) for name in ("open_reference", "posed_references", "residual", "mask")}
    told["paste_mask"] = settings.paste_mask or settings.mask
    if settings.window is not None:
        told["window"] = settings.window
    return FewStepConfig.from_mapping(told)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="prepared clips; may be repeated")
    parser.add_argument("--model", type=Path, default=Path(str(resources.files("latentsync") / "assets" / "tiny")))
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sources = []
    for folder in args.data:
        clips = [clip for clip in open_data([folder]).val if num_frames(clip) > STILL_FRAMES]
        sources.append(list({clip.person: clip for clip in clips}.values()))
    people = [clip for group in zip_longest(*sources) for clip in group if clip is not None][: args.people]
    settings = ModelSettings.from_index(read_index(args.model).settings, str(args.model))
    coder = load_component(args.model / "autoencoder", TinyAutoencoder).float()
    objective = FewStepObjective(load_component(args.model / "unet", UNet).float(), coder, config_of(settings))
    hearing = Hearing(
        load_component(args.model / "listener", Listener).float(), open_data(args.data).cache, SoundRange()
    )
    tracker = MeshTracker()
    blocks = []
    for drive in drives_of(people, len(people)):
        crops = np.ascontiguousarray(drive.person.crops[: num_frames(drive.person)])
        told = [hearing(piece.clip)[piece.start : piece.start + piece.count].float() for piece in drive.speech]
        stills = references_of(
            crops, opening_of(crops[:STILL_FRAMES], tracker), objective, np.asarray(drive.person.mesh)[: len(crops)]
        )
        made = render(objective, objective.network, crops, stills, torch.cat(told)[: len(crops)], settings.num_frames)
        picks = np.linspace(0.2 * len(crops), 0.9 * len(crops), FRAMES).astype(int)
        blocks.append(
            np.concatenate([np.concatenate(list(p[picks][:, PART[0], PART[1]]), axis=1) for p in (crops, made)])
        )
    half = -(-len(blocks) // 2)
    columns = [
        np.concatenate(blocks[:half]),
        np.concatenate([*blocks[half:], *[np.full_like(blocks[0], 255)] * (2 * half - len(blocks))]),
    ]
    picture = np.concatenate([columns[0], np.full((len(columns[0]), 12, 3), 255, np.uint8), columns[1]], axis=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:, :, ::-1])


if __name__ == "__main__":
    main()
