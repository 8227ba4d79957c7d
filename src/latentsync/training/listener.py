"""Train the small listener: it learns to give what a Whisper encoder hears, from a tenth of the arithmetic.

Target: Whisper's hidden states 2, 3 and 4, projected on their principal directions and whitened. The student sees the
same sound with noise, echo, another microphone's colour and level, so its states depend on what is said more than on
how it was recorded.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentsync.audio.mel import whisper_log_mel
from latentsync.models.listener import Listener
from latentsync.training.clips import load_clips
from latentsync.training.loop import LoopConfig, train
from latentsync.training.teachers import whisper_tiny_en

POSITIONS = 250
"""States in a window: 5 s."""
WINDOW = POSITIONS * 320
"""Samples in a window."""
HEARD = (2, 3, 4)
"""Hidden states of the teacher that are learnt; chosen because phones are read best from the upper blocks."""
WIDTH = 128
"""Width of the target, and of what the U-Net hears."""
STUDENT = {
    "width": 192, "num_layers": 4, "num_heads": 4, "feed_forward": 768, "positions": POSITIONS,
    "states": [4], "final_norm": True, "output_width": WIDTH,
}  # fmt: skip


@dataclass(frozen=True)
class Windows:
    """Mel (N, 80, 500) float16 and targets (N, 250, 128) float16, of five seconds each."""

    mel: Tensor
    target: Tensor


def pack(waves: list[np.ndarray], rng: np.random.Generator, speeds: tuple[float, float]) -> np.ndarray:
    """Sentences one after another with pauses of 0.1–0.6 s, each played 0.85–1.2 times as fast: (N, WINDOW) float32."""
    parts = []
    for k in rng.permutation(len(waves)):
        wave, speed = waves[k].astype(np.float32), rng.uniform(*speeds)
        at = np.arange(0, len(wave) - 1, speed)
        wave = np.interp(at, np.arange(len(wave)), wave).astype(np.float32)
        peak = max(1e-3, float(np.abs(wave).max()))
        parts += [wave * (rng.uniform(0.2, 0.9) / peak), np.zeros(int(rng.uniform(0.1, 0.6) * 16000), np.float32)]
    joined = np.concatenate(parts)
    return joined[: len(joined) // WINDOW * WINDOW].reshape(-1, WINDOW)


@torch.no_grad()
def teach(windows: np.ndarray, teacher: Listener) -> tuple[Tensor, Tensor]:
    """Mel (N, 80, 500) and the teacher's chosen states side by side (N, 250, 1152), both float16."""
    mels, states = [], []
    for start in range(0, len(windows), 8):
        mel = torch.stack([whisper_log_mel(w) for w in windows[start : start + 8]])
        heard = teacher(mel)[:, :, list(HEARD)]
        heard = heard / heard.std(dim=-1, keepdim=True)
        mels.append(mel.half())
        states.append(heard.flatten(2).half())
    return torch.cat(mels), torch.cat(states)


def principal_directions(states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (W,) and projection (W, WIDTH) onto the largest principal directions, scaled to unit variance."""
    flat = states.flatten(0, 1)[:: max(1, states.shape[0] * states.shape[1] // 60000)].float()
    mean = flat.mean(0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors[:, -WIDTH:] / values[-WIDTH:].sqrt()


def disturb(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Noise, echo, colour and level on a normalised log-mel (B, 80, T), all in the mel domain."""
    b, bins, steps = mel.shape
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    power = 10 ** (4 * mel.float() - 4)
    curve = torch.nn.functional.interpolate(torch.randn(b, 1, 5, generator=generator) * 0.25, size=bins, mode="linear")
    power = power * 10 ** curve.transpose(1, 2)
    decay = 0.35 + 0.45 * uniform(b, 1)
    wet = (uniform(b, 1) < 0.4) * uniform(b, 1) * 0.5
    echo, tail = [], torch.zeros(b, bins)
    for t in range(steps):
        tail = tail * decay + power[:, :, t]
        echo.append(tail)
    power = power * (1 - wet[..., None]) + torch.stack(echo, -1) * (wet * (1 - decay))[..., None]
    loud = power.flatten(1).amax(1).view(b, 1, 1)
    colour = 10 ** torch.nn.functional.interpolate(
        torch.randn(b, 1, 4, generator=generator) * 0.4, size=bins, mode="linear"
    )
    floor = loud * 10 ** (-1.5 - 5 * uniform(b, 1, 1)) * colour.transpose(1, 2)
    power = power + floor * -torch.log(uniform(b, bins, steps).clamp_min(1e-6)) * (uniform(b, 1, 1) < 0.8)
    log = power.clamp_min(1e-10).log10()
    top = log.flatten(1).amax(1).view(b, 1, 1) + 0.6 * uniform(b, 1, 1)
    return (torch.maximum(log, top - 8) + 4) / 4 + 0.15 * (uniform(b, 1, 1) - 0.5)


def batches(data: Windows, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches of disturbed mels and targets."""
    while True:
        order = torch.randperm(len(data.mel), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            pick = order[start : start + size]
            yield disturb(data.mel[pick], generator), data.target[pick].float()


def explained(student: Listener, data: Windows) -> float:
    """Share of the targets' variance that the student explains on undisturbed sound, 0–1."""
    error = total = 0.0
    with torch.no_grad():
        for start in range(0, len(data.mel), 8):
            target = data.target[start : start + 8].float()
            error += float((student(data.mel[start : start + 8].float())[:, :, 0] - target).square().sum())
            total += float((target - data.target.float().mean((0, 1))).square().sum())
    return 1 - error / total


def main() -> None:
    """`python -m latentsync.training.listener --speech FOLDER --data PREPARED --out FOLDER --minutes 15`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--speech", type=Path, required=True, help="folder of .npy waves, 16 kHz")
    parser.add_argument("--data", type=Path, required=True, help="prepared clips")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generator = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    cache = args.out / "windows.pt"
    if not cache.exists():
        rng, teacher = np.random.default_rng(args.seed), whisper_tiny_en(POSITIONS)
        real = [clip.wave for clip in load_clips(args.data, "train")]
        made = [np.load(path) for path in sorted(args.speech.glob("*.npy"))]
        packed = np.concatenate([pack(real, rng, (0.85, 1.2)) for _ in range(4)] + [pack(made, rng, (0.9, 1.15))])
        mel, states = teach(packed, teacher)
        mean, project = principal_directions(states)
        val_mel, val_states = teach(pack([c.wave for c in load_clips(args.data, "val")], rng, (1.0, 1.0)), teacher)
        reduce = lambda s: torch.cat([((x.float() - mean) @ project).half() for x in s.split(64)])  # noqa: E731
        torch.save({"mel": mel, "target": reduce(states), "val_mel": val_mel, "val_target": reduce(val_states)}, cache)
    stored = torch.load(cache, weights_only=True)
    data, held_out = Windows(stored["mel"], stored["target"]), Windows(stored["val_mel"], stored["val_target"])
    logging.info("%d windows of 5 s, %d held out", len(data.mel), len(held_out.mel))
    student = Listener.from_config(STUDENT)

    def loss(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        made, target = student(batch[0])[:, :, 0], batch[1]
        steps = (made.diff(dim=1) - target.diff(dim=1)).square().mean()
        return {"states": (made - target).square().mean(), "steps": 0.25 * steps}

    def validate(weights: dict[str, Tensor]) -> dict[str, float]:
        twin = Listener.from_config(STUDENT)
        twin.load_state_dict(weights)
        return {"val/explained": explained(twin, held_out)}

    config = LoopConfig(minutes=args.minutes, learning_rate=2e-3, warmup_steps=100, ema=0.995, weight_decay=0.02)
    weights = train(student, batches(data, args.batch, generator), loss, args.out, config, validate, 120)
    folder = args.out / "component"
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(student.config, indent=2) + "\n")


if __name__ == "__main__":
    main()
