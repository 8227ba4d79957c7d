"""One optimiser step of the official U-Net training, and what it costs.

    python benchmarks/train_step.py step stage1            # builds, trains one step, saves; prints peak memory
    python benchmarks/train_step.py step stage2 --frames 2
    python benchmarks/train_step.py calculate              # memory and arithmetic of every preset, from shapes alone

Networks are full-size with random weights; one random clip. So that a step fits beside other work, `step` keeps weights
and optimiser state in bfloat16 and computes under autocast; `calculate` counts what the presets ask for: float32
weights, gradients and AdamW state of what is trained.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.config.loader import load_preset
from latentsync.models import SyncNet, UNet
from latentsync.models.autoencoder import SdAutoencoder
from latentsync.models.vgg import Vgg16
from latentsync.pipeline.result import peak_memory_gib
from latentsync.training.losses.perceptual import PerceptualLoss
from latentsync.training.losses.sync import SyncLoss, SyncNetFacts, mel_columns
from latentsync.training.losses.trepa import TrepaLoss
from latentsync.training.losses.videomae import VideoMae
from latentsync.training.tasks.unet.objective import UNetObjective, choose_trainable
from latentsync.training.tasks.unet.settings import UNetSettings

PRESETS = ("stage1", "stage2", "stage2_efficient", "stage1_512", "stage2_512")
GIB = 2**30


class Repeated(SyncLoss):
    """A SyncNet of 16 frames before a clip of fewer: the clip is shown again and again."""

    def forward(self, frames: Tensor, mel: Tensor) -> Tensor:
        times = -(-self.facts.num_frames // frames.shape[1])
        return super().forward(frames.repeat(1, times, 1, 1, 1)[:, : self.facts.num_frames], mel)


def consulted(settings: UNetSettings) -> dict[str, Any]:
    """Full-size networks with random weights for the losses that a preset uses."""
    made: dict[str, Any] = {}
    w = settings.weights
    if w.sync > 0:
        model: Any = load_preset("16_pixel_attn", "syncnet")["model"]
        made["sync"] = Repeated(SyncNet.from_config(model), SyncNetFacts())
    if w.perceptual > 0:
        made["perceptual"] = PerceptualLoss("VGG-16", Vgg16())
    if w.trepa > 0:
        made["trepa"] = TrepaLoss(VideoMae())
    return made


def step(name: str, num_frames: int) -> None:
    """Build, one step, save, in this process."""
    torch.manual_seed(0)
    settings = UNetSettings.from_mapping(load_preset(name, "train/unet")["task"])  # type: ignore[arg-type]
    torch.set_default_dtype(torch.bfloat16)
    began = time.process_time()
    unet = UNet.from_config(load_preset(str(settings.unet), "unet")["model"])  # type: ignore[arg-type]
    for conv in (
        unet.conv_in,
        unet.conv_out,
    ):  # zero at the start of a real run: then nothing behind them gets a gradient
        nn.init.normal_(conv.weight, 0, 0.02)
    objective = UNetObjective(
        unet,
        SdAutoencoder(),
        resolution=settings.resolution or 256,
        weights=settings.weights,
        trainable=settings.trainable,
        gradient_checkpointing=settings.gradient_checkpointing,
        **consulted(settings),
    )
    torch.set_default_dtype(torch.float32)
    trained = [p for p in objective.parameters() if p.requires_grad]
    total = sum(p.numel() for p in objective.parameters())
    print(f"{name}: {total:,} parameters, {sum(p.numel() for p in trained):,} trained; {num_frames} frames")
    print(f"  built      {time.process_time() - began:7.1f} s CPU, peak {peak_memory_gib():.2f} GiB", flush=True)
    optimiser = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.01, fused=True)
    side, rng = settings.resolution or 256, np.random.default_rng(0)
    shape = (1, num_frames, 3, side, side)
    batch = {
        "target": torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)),
        "reference": torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)),
        "audio_features": torch.randn(1, num_frames, 50, 384),
        "mel": torch.randn(1, 1, 80, mel_columns(0, 16)[1]),
        "seed": torch.tensor([1]),
    }
    before = sums(trained)
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(batch)
    named = ", ".join(f"{key} {float(value.detach()):.3g}" for key, value in terms.items())
    print(
        f"  forward    {time.process_time() - began:7.1f} s CPU, peak {peak_memory_gib():.2f} GiB: {named}", flush=True
    )
    began = time.process_time()
    torch.stack([term.float() for term in terms.values()]).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    reached = sum(p.grad is not None and bool(p.grad.abs().max() > 0) for p in trained)
    print(f"  backward   {time.process_time() - began:7.1f} s CPU, peak {peak_memory_gib():.2f} GiB: gradient norm "
          f"{float(norm):.3g}, not zero in {reached} of {len(trained)} tensors", flush=True)  # fmt: skip
    began = time.process_time()
    optimiser.step()
    moved = sum(a != b for a, b in zip(before, sums(trained), strict=True))
    print(f"  AdamW      {time.process_time() - began:7.1f} s CPU, peak {peak_memory_gib():.2f} GiB: values changed in "
          f"{moved} of {len(trained)} tensors (bfloat16 keeps no change of 1e-5 beside 1)", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        path = Path(folder) / "model.safetensors"
        save_file({key: value.contiguous() for key, value in unet.state_dict().items()}, path)
        print(f"  saved      {path.stat().st_size / GIB:.2f} GiB; peak {peak_memory_gib():.2f} GiB")


def sums(tensors: list[Any]) -> list[float]:
    """A number for each tensor that another content would change."""
    return [float(t.detach().double().abs().sum()) for t in tensors]


def calculate() -> None:
    """Weights, gradients and optimiser state from parameter counts; multiplications from the networks' shapes."""
    print("| preset | trained / all, M | weights + gradients + AdamW, GiB | frozen networks in 16 bits, GiB | "
          "PFLOP a step | s a step, 1 × 24 GB | steps/s, 8 × 80 GB |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name in PRESETS:
        settings = UNetSettings.from_mapping(load_preset(name, "train/unet")["task"])  # type: ignore[arg-type]
        with torch.device("meta"):
            unet = UNet.from_config(load_preset(str(settings.unet), "unet")["model"])  # type: ignore[arg-type]
            frozen = {"autoencoder": SdAutoencoder(), **consulted(settings)}
        trained = choose_trainable(unet, settings.trainable)
        total = sum(p.numel() for p in unet.parameters())
        held = (4 * total + 12 * trained) / GIB  # float32 weights; gradient and two averages of what is trained
        beside = sum(2 * p.numel() for module in frozen.values() for p in module.parameters()) / GIB
        work = arithmetic(unet, frozen, settings) / 1e15
        # 0.35 of the dense bf16 peak, chosen as a usual share: RTX 4090 165 TFLOP/s, A100 312 TFLOP/s
        one, eight = work * 1e3 / (165 * 0.35), 312 * 0.35 / (work * 1e3)
        numbers = f"{trained / 1e6:.0f} / {total / 1e6:.0f} | {held:.1f} | {beside:.1f} | {work:.3f} | {one:.1f}"
        print(f"| {name} | {numbers} | {eight:.1f} (batch 8) |")


def arithmetic(unet: Any, frozen: dict[str, Any], settings: UNetSettings) -> float:
    """Floating-point operations of one clip of 16 frames: forward, forward again (checkpointing), backward.

    Backward through what is trained counts two forwards, through what is frozen one.
    """
    from torch.utils.flop_counter import FlopCounterMode

    def count(call: Any) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        return counter.get_total_flops()

    side, meta = settings.resolution or 256, {"device": "meta"}
    latent = torch.empty(1, 13, 16, side // 8, side // 8, **meta)  # type: ignore[call-overload]
    states = torch.empty(1, 16, 50, 384, **meta)  # type: ignore[call-overload]
    pictures = torch.empty(1, 3, side, side, **meta)  # type: ignore[call-overload]
    unet.set_gradient_checkpointing(False)
    work = 4.0 * count(lambda: unet(latent, torch.zeros(1, **meta), states))  # type: ignore[call-overload]
    network = frozen["autoencoder"].network
    work += 3 * 16 * count(lambda: network.encoder(pictures))
    if settings.weights.need_pixels:
        work += 3 * 16 * count(lambda: network.decoder(latent[:, :4, 0]))
    if "sync" in frozen:
        seen = torch.empty(1, 48, 128, 256, **meta)  # type: ignore[call-overload]
        work += 3 * count(lambda: frozen["sync"].network.visual_encoder(seen))
    if "perceptual" in frozen:
        work += 4 * 16 * count(lambda: frozen["perceptual"].layers.to("meta")(pictures[:, :, side // 2 :]))
    if "trepa" in frozen:
        clips = torch.empty(1, 16, 3, 224, 224, **meta)  # type: ignore[call-overload]
        work += 4 * count(lambda: frozen["trepa"].network(clips))
    return work


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "calculate"))
    parser.add_argument("preset", nargs="?", choices=PRESETS, default="stage1")
    parser.add_argument("--frames", type=int, default=2)
    args = parser.parse_args()
    if args.what == "step":
        step(args.preset, args.frames)
    else:
        calculate()


if __name__ == "__main__":
    main()
