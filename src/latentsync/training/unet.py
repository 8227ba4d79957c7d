"""Train the U-Net of `tiny`: predict the clean latents of the masked region from noise, reference and speech.

Few-step by construction: x_σ = (1 − σ)·x0 + σ·ε, the network gives x0, σ = 1 for a good share of the samples, so that
one or two steps suffice. References come from elsewhere in the clip: their mouth says nothing about the wanted one.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from latentsync.config.loader import load_preset
from latentsync.diffusion.noise import mixed_noise
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.models import UNet
from latentsync.models.listener import Listener
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.training.autoencoder import laplacian_loss
from latentsync.training.clips import Clip, load_clips
from latentsync.training.features import hear, load_component, pixels_of
from latentsync.training.loop import LoopConfig, train

AUDIO_DROP = 0.1
"""Share of samples that hear nothing (zero tokens), so that the null condition of guidance is trained."""
MOUTH_CELLS = (slice(8, 13), slice(4, 12))
"""Rows and columns of the latent cells around the lips: there the latents of the training clips vary most over time."""
PASTED = "mask3"
"""The mask inside which results are pasted."""
ELSEWHERE = 0.15
"""What an error in the generated region counts where it is not pasted."""
MOUTH_WEIGHT = 4.0
"""How much more an error there counts: the rest of the region can be copied, the lips have to be heard."""
MOVEMENT_WEIGHT = 6.0
PURE_NOISE = 0.4
"""Share of samples at σ = 1."""


@dataclass(frozen=True)
class Example:
    """One prepared clip variant: `latents`, `masked` (F, c, h, w), `heard` (F, K, D), float16."""

    clip: Clip
    variant: int
    latents: Tensor
    masked: Tensor
    heard: Tensor


@dataclass(frozen=True)
class Batch:
    """(B, F, …) float32 tensors of one step, with what is needed to fetch pixels."""

    latents: Tensor
    masked: Tensor
    reference: Tensor
    heard: Tensor
    source: list[tuple[Example, int]]


def load_examples(data: Path, features: Path, split: str, listener: Listener) -> list[Example]:
    """Every prepared variant of every in-sync clip of a split, with what the listener hears in it."""
    out = []
    for clip in load_clips(data, split):
        heard: Tensor | None = None
        for path in sorted(features.glob(f"{clip.path.name}.*.safetensors")):
            tensors = load_file(path)
            heard = hear(listener, clip.wave, len(tensors["latents"])) if heard is None else heard
            index = int(path.name.split(".")[-2])
            out.append(Example(clip, index, tensors["latents"], tensors["masked"], heard))
    return out


def batches(examples: list[Example], size: int, frames: int, generator: torch.Generator) -> Iterator[Batch]:
    """Endless batches; people drawn with a probability that grows as the square root of their number of clips."""
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    people = np.array([e.clip.person for e in examples])
    count = {p: (people == p).sum() for p in set(people)}
    weight = np.array([count[p] ** -0.5 for p in people])
    weight /= weight.sum()
    while True:
        rows: list[tuple[Example, int, np.ndarray]] = []
        for k in rng.choice(len(examples), size, p=weight):
            total = len(examples[k].latents)
            start = int(rng.integers(0, total - frames + 1))
            away = [r for r in range(total - frames + 1) if abs(r - start) >= frames] or [0]
            first = int(away[rng.integers(len(away))])
            # half of the time one still picture is the reference, as when a track keeps a fixed one
            where = np.full(frames, first) if rng.random() < 0.5 else np.arange(first, first + frames)
            rows.append((examples[k], start, where))
        spans = [(e, slice(s, s + frames)) for e, s, _ in rows]
        heard = torch.stack([e.heard[span] for e, span in spans]).float()
        heard[torch.from_numpy(rng.random(size) < AUDIO_DROP)] = 0
        reference = torch.stack([e.latents[torch.from_numpy(w)] for e, _, w in rows]).float()
        latents = torch.stack([e.latents[span] for e, span in spans]).float()
        masked = torch.stack([e.masked[span] for e, span in spans]).float()
        yield Batch(latents, masked, reference, heard, [(e, s) for e, s, _ in rows])


def assemble(noisy: Tensor, keep: Tensor, masked: Tensor, reference: Tensor) -> Tensor:
    """Input (B, 3c + 1, F, h, w) in the method's order: noisy latents, keep mask, masked latents, reference latents.

    Args: noisy (B, c, F, h, w); keep (h, w), 1 = keep; masked, reference (B, F, c, h, w).
    """
    b, _, f, h, w = noisy.shape
    mask = keep.view(1, 1, 1, h, w).expand(b, 1, f, h, w).to(noisy.dtype)
    return torch.cat([noisy, mask, masked.transpose(1, 2), reference.transpose(1, 2)], dim=1)


def region_of(mask: Tensor, factor: int) -> Tensor:
    """(h, w): 1 where a latent cell, or a neighbour of it, holds any generated pixel."""
    touched = functional.max_pool2d(mask[None, None], factor)
    return functional.max_pool2d(touched, 3, stride=1, padding=1)[0, 0]


class UNetTask:
    """Losses of one step."""

    def __init__(
        self, unet: UNet, autoencoder: TinyAutoencoder, generator: torch.Generator, pixel_weight: float
    ) -> None:
        self.unet, self.autoencoder, self.generator = unet, autoencoder, generator
        mask = inpaint_mask(256)
        self.keep = torch.from_numpy(1 - latent_mask(mask, autoencoder.factor))
        self.region = region_of(torch.from_numpy(mask), autoencoder.factor)
        pasted = region_of(torch.from_numpy(inpaint_mask(256, PASTED)), autoencoder.factor)
        self.weight = self.region * torch.where(pasted > 0, 1.0, ELSEWHERE)
        self.weight[MOUTH_CELLS] *= MOUTH_WEIGHT
        self.weight /= self.weight.mean()
        self.pixel_weight = pixel_weight

    def predict(self, batch: Batch, sigma: Tensor, noise: Tensor) -> Tensor:
        """x0 (B, c, F, h, w) from σ (B,) and noise."""
        target = batch.latents.transpose(1, 2)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * target + level * noise
        return self.unet(assemble(noisy, self.keep, batch.masked, batch.reference), 1000 * sigma, batch.heard)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Latent terms over the region; with a pixel weight, one decoded frame a clip against its crop."""
        b = len(batch.latents)
        target = batch.latents.transpose(1, 2)
        one_map = bool(torch.rand((), generator=self.generator) < 0.5)
        noise = mixed_noise(tuple(target.shape), float("inf") if one_map else 1.0, self.generator)  # type: ignore[arg-type]
        sigma = torch.rand(b, generator=self.generator).sqrt()
        sigma = torch.where(torch.rand(b, generator=self.generator) < PURE_NOISE, torch.ones(b), sigma)
        made = self.predict(batch, sigma, noise)
        error = made - target
        terms = {
            "mse": (error.square() * self.weight).mean(),
            "l1": 0.5 * (error.abs() * self.weight).mean(),
            "motion": (error.diff(dim=2).square() * self.weight).mean(),
            # about its mean over time a clip's error is the movement that was not heard: looks play no part in it
            "movement": MOVEMENT_WEIGHT * ((error - error.mean(2, keepdim=True)).square() * self.weight).mean(),
        }
        if self.pixel_weight > 0:
            terms["pixels"] = self.pixel_weight * self._pixels(batch, made)
        return terms

    def _pixels(self, batch: Batch, made: Tensor) -> Tensor:
        frame = int(torch.randint(made.shape[2], (1,), generator=self.generator))
        wanted = torch.cat([pixels_of(e.clip, e.variant, [s + frame]) for e, s in batch.source])
        latents = made[:, :, frame] * self.region + batch.latents[:, frame] * (1 - self.region)
        rows = slice(6, 16)  # cells that hold the lower face
        picture = self.autoencoder.decode(latents[:, :, rows])[:, :, 32:]
        real = wanted[:, :, 128:]
        lips = (slice(None), slice(None), slice(8, 104), slice(64, 192))
        whole = (picture - real).abs().mean() + laplacian_loss(picture, real)
        return whole + 2 * ((picture[lips] - real[lips]).abs().mean() + laplacian_loss(picture[lips], real[lips]))


@torch.no_grad()
def validate_examples(task: UNetTask, examples: list[Example], frames: int) -> dict[str, float]:
    """One-step error from pure noise on held-out people, with their own speech and with another clip's."""
    generator = torch.Generator().manual_seed(7)
    error = {"own": 0.0, "other": 0.0}
    count = 0
    for k in range(0, len(examples), 3):
        e, o = examples[k], examples[(k + 7) % len(examples)]
        f = lambda t, s: t[s : s + frames][None].float()  # noqa: E731
        noise = mixed_noise((1, e.latents.shape[1], frames, *e.latents.shape[2:]), float("inf"), generator)
        for name, heard in (("own", e.heard), ("other", o.heard)):
            batch = Batch(f(e.latents, 25), f(e.masked, 25), f(e.latents, 0), f(heard, 25), [])
            made = task.predict(batch, torch.ones(1), noise)
            error[name] += float(((made - batch.latents.transpose(1, 2)).square() * task.weight).mean())
        count += 1
    return {f"val/mse_{name}": value / count for name, value in error.items()}


def main() -> None:
    """`python -m latentsync.training.unet --data D --features F --autoencoder F --listener F --out O --minutes 60`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("data", "features", "autoencoder", "listener", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="component folder to start from")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--pixel-weight", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generator = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    autoencoder = load_component(args.autoencoder, TinyAutoencoder)
    assert isinstance(autoencoder, TinyAutoencoder)
    listener = load_component(args.listener, Listener)
    assert isinstance(listener, Listener)
    config: dict[str, Any] = dict(load_preset("tiny", "unet"))
    config = config["model"]
    unet = UNet.from_config(config)
    if args.start:
        missing, extra = unet.load_state_dict(load_file(args.start / "model.safetensors"), strict=False)
        logging.info("started from %s; new: %s; not used: %s", args.start, missing, extra)
    task = UNetTask(unet, autoencoder, generator, args.pixel_weight)
    examples = load_examples(args.data, args.features, "train", listener)
    held_out = load_examples(args.data, args.features, "val", listener)
    logging.info("%d training examples, %d held out, %.1f M parameters", len(examples), len(held_out),
                 sum(p.numel() for p in unet.parameters()) / 1e6)  # fmt: skip

    def validate(weights: dict[str, Tensor]) -> dict[str, float]:
        twin = UNet.from_config(config)
        twin.load_state_dict(weights)
        return validate_examples(UNetTask(twin, autoencoder, generator, 0), held_out, 16)

    loop = LoopConfig(minutes=args.minutes, learning_rate=args.learning_rate, ema=0.99, log_every=10)
    weights = train(
        unet, batches(examples, args.batch, args.frames, generator), task.loss, args.out, loop, validate, 360
    )
    folder = args.out / "component"
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
