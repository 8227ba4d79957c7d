"""Train the small autoencoder on aligned crops: L1 and Laplacian-pyramid L1, random pieces, colours."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.training.clips import Clip, load_clips
from latentsync.training.loop import LoopConfig, train

LAPLACIAN_LEVELS = 3
LATENT_NOISE = 0.05
"""Noise added to latents in training, as a share of their spread: it keeps the decoder smooth around its inputs."""


def laplacian_loss(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the band-pass levels of two (B, 3, H, W) pictures, each band alike."""
    total = made.new_zeros(())
    difference = made - real
    for _ in range(LAPLACIAN_LEVELS):
        small = functional.avg_pool2d(difference, 2)
        total = total + (difference - functional.interpolate(small, scale_factor=2.0, mode="nearest")).abs().mean()
        difference = small
    return total


def augment_colour(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, offset and per-channel gain of (B, 3, H, W) in [−1, 1]."""
    b = len(pixels)
    gain = 1 + 0.25 * (2 * torch.rand(b, 1, 1, 1, generator=generator) - 1)
    tint = 1 + 0.12 * (2 * torch.rand(b, 3, 1, 1, generator=generator) - 1)
    offset = 0.15 * (2 * torch.rand(b, 1, 1, 1, generator=generator) - 1)
    return (pixels * gain * tint + offset).clamp(-1, 1)


def pieces(clips: list[Clip], batch: int, side: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless (batch, 3, side, side) float32 pieces in [−1, 1]: people drawn evenly, scale ½–1, half mirrored."""
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    people = sorted({clip.person for clip in clips})
    of = {person: [clip for clip in clips if clip.person == person] for person in people}
    while True:
        out = torch.empty(batch, 3, side, side)
        for k in range(batch):
            group = of[people[rng.integers(len(people))]]
            crops = group[rng.integers(len(group))].crops
            picture = crops[rng.integers(len(crops))]
            take = int(rng.integers(side, min(2 * side, picture.shape[0]) + 1)) if rng.random() < 0.3 else side
            # three pieces in four come from the lower half, where the mouth is
            low = picture.shape[0] // 4 if rng.random() < 0.75 else 0
            y = rng.integers(min(low, picture.shape[0] - take), picture.shape[0] - take + 1)
            x = rng.integers(0, picture.shape[1] - take + 1)
            piece = (
                torch.from_numpy(np.ascontiguousarray(picture[y : y + take, x : x + take]))
                .permute(2, 0, 1)[None]
                .float()
            )
            if take != side:
                piece = functional.interpolate(piece, size=(side, side), mode="area")
            out[k] = piece[0].flip(-1) if rng.random() < 0.5 else piece[0]
        yield augment_colour(out / 127.5 - 1, generator)


@torch.no_grad()
def latent_statistics(model: TinyAutoencoder, clips: list[Clip], every: int = 5) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of the raw latents of every `every`-th crop."""
    raws = []
    for clip in clips:
        pixels = torch.from_numpy(np.ascontiguousarray(clip.crops[::every])).permute(0, 3, 1, 2).float() / 127.5 - 1
        raws.append(model.encoder(pixels).transpose(0, 1).flatten(1))
    raw = torch.cat(raws, dim=1)
    return raw.mean(1).tolist(), raw.std(1).tolist()


def psnr_of_mouths(model: TinyAutoencoder, clips: list[Clip]) -> dict[str, float]:
    """PSNR in dB (peak 2) of whole crops and of the mouth (rows 140–230, columns 70–186), every 15th crop."""
    whole, mouth = [], []
    with torch.no_grad():
        for clip in clips:
            x = torch.from_numpy(np.ascontiguousarray(clip.crops[::15])).permute(0, 3, 1, 2).float() / 127.5 - 1
            y = model.decode(model.encode(x)).clamp(-1, 1)
            error = (x - y).square()
            whole.append(10 * torch.log10(4 / error.mean()))
            mouth.append(10 * torch.log10(4 / error[..., 140:230, 70:186].mean()))
    return {"val/psnr_db": float(torch.stack(whole).mean()), "val/psnr_mouth_db": float(torch.stack(mouth).mean())}


def main() -> None:
    """`python -m latentsync.training.autoencoder --data PREPARED --out FOLDER --minutes 25`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generator = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    clips, held_out = load_clips(args.data, "train"), load_clips(args.data, "val")
    model = TinyAutoencoder(TinyAutoencoderConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(pixels: Tensor) -> dict[str, Tensor]:
        pixels = pixels.to(memory_format=torch.channels_last)
        raw = model.encoder(pixels)
        spread = raw.detach().std(dim=(0, 2, 3), keepdim=True)
        made = model.decoder(raw + LATENT_NOISE * spread * torch.randn(raw.shape, generator=generator))
        return {
            "l1": (made - pixels).abs().mean(),
            "laplacian": laplacian_loss(made, pixels),
            "size": 1e-4 * raw.square().mean(),
        }

    def validate(weights: dict[str, Tensor]) -> dict[str, float]:
        twin = TinyAutoencoder(model.config)
        twin.load_state_dict(weights)
        return psnr_of_mouths(twin, held_out[::4])

    config = LoopConfig(minutes=args.minutes, learning_rate=1.5e-3, ema=0.995)
    weights = train(model, pieces(clips, args.batch, args.side, generator), loss, args.out, config, validate)
    model.load_state_dict(weights)
    model.set_latent_statistics(*latent_statistics(model, clips))
    (args.out / "component").mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, args.out / "component" / "model.safetensors")
    import json

    (args.out / "component" / "config.json").write_text(json.dumps(model.to_config(), indent=2) + "\n")


if __name__ == "__main__":
    main()
