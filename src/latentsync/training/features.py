"""What the U-Net trains on, computed once per clip: latents of every frame and of its masked version, what is heard."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.audio.windows import position_code
from latentsync.faces import inpaint_mask
from latentsync.models.hearing import StreamingListener, sound_of
from latentsync.models.listener import Listener
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.training.clips import Clip, load_clips

log = logging.getLogger(__name__)
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


def variant(clip: Clip, index: int) -> tuple[bool, Tensor, float]:
    """Mirrored or not, channel gains (3,), offset: fixed for (clip, variant). Held-out clips stay as they are."""
    if clip.split != "train":
        return False, torch.ones(3), 0.0
    digest = hashlib.sha256(f"{clip.path.name}/{index}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    gains = (1 + rng.uniform(-0.25, 0.25)) * (1 + rng.uniform(-0.12, 0.12, 3))
    return bool(rng.random() < 0.5), torch.tensor(gains, dtype=torch.float32), float(rng.uniform(-0.15, 0.15))


def pixels_of(clip: Clip, index: int, frames: Sequence[int] | slice) -> Tensor:
    """(n, 3, R, R) float32 in [−1, 1]: the clip's frames in the look of one variant."""
    mirrored, gains, offset = variant(clip, index)
    x = torch.from_numpy(np.ascontiguousarray(clip.crops[frames])).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = (x * gains.view(1, 3, 1, 1) + offset).clamp(-1, 1)
    return x.flip(-1) if mirrored else x


@torch.no_grad()
def prepare_features(clip: Clip, index: int, autoencoder: TinyAutoencoder, keep: Tensor) -> dict[str, Tensor]:
    """Float16 tensors `latents` and `masked`, (F, c, h, w)."""
    latents, masked = [], []
    for start in range(0, len(clip.crops), 25):
        x = pixels_of(clip, index, slice(start, start + 25))
        latents.append(autoencoder.encode(x).half())
        masked.append(autoencoder.encode(x * keep).half())
    return {"latents": torch.cat(latents).contiguous(), "masked": torch.cat(masked).contiguous()}


def main() -> None:
    """`python -m latentsync.training.features --data PREPARED --autoencoder F --out FOLDER --variants 1`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("data", "autoencoder", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    autoencoder = load_component(args.autoencoder, TinyAutoencoder)
    keep = torch.from_numpy(1 - inpaint_mask(256))
    args.out.mkdir(parents=True, exist_ok=True)
    for index in range(args.variants):
        for split in ("train", "val"):
            if split == "val" and index:
                continue
            for clip in load_clips(args.data, split):
                path = args.out / f"{clip.path.name}.{index}.safetensors"
                if clip.in_sync and not path.exists():
                    part = path.with_suffix(".part")
                    save_file(prepare_features(clip, index, autoencoder, keep), part)  # type: ignore[arg-type]
                    part.rename(path)
        log.info("variant %d done", index)


if __name__ == "__main__":
    main()
