"""What is minimised to train SyncNet: pairs that are right or wrong, or a choice among all windows of the batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from latentsync.models.syncnet import SyncNet
from latentsync.training.engine.task import Batch, Objective

MARGIN = 1e-6
"""Cosines are drawn this far away from 0 and 1: a pair that is wholly wrong keeps a gradient, and a finite one."""


def pair_loss(cosine: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy of cosines in [0, 1] as probabilities, one for each pair, float32.

    Source: docs/method.md#syncnet-training.
    """
    p = MARGIN + (1 - 2 * MARGIN) * cosine.float().clamp(max=1)
    return -(label * p.log() + (1 - label) * (1 - p).log())


def as_input(frames: Tensor) -> Tensor:
    """Pixels (…) uint8 → float32 in [−1, 1]; latents stay, as float32."""
    return frames.float() / 127.5 - 1 if frames.dtype == torch.uint8 else frames.float()


@contextlib.contextmanager
def own_chance(module: nn.Module, seed: Tensor) -> Iterator[None]:
    """Inside, dropout depends on `seed` (B,) alone."""
    if not any(isinstance(part, nn.Dropout) and part.p > 0 for part in module.modules()):
        yield
        return
    devices = [seed.device] if seed.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(seed[0]) % (2**63 - 1))
        yield


class PairObjective(Objective):
    """The official loss. Batch: frames (B, C, H, W), mel (B, 1, 80, T), label (B,) float32, seed (B,)."""

    network: SyncNet

    def __init__(self, network: SyncNet) -> None:
        super().__init__(network)
        self.pairs_seen = 0
        """Pairs of the last batch, in this process."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.pairs_seen = len(batch["label"])
        with own_chance(self.network, batch["seed"]):
            visual, audio = self.network(as_input(batch["frames"]), batch["mel"])
        cosine = (visual.float() * audio.float()).sum(dim=1)
        return {"bce": pair_loss(cosine, batch["label"]).mean()}


class ContrastiveObjective(Objective):
    """Each picture window finds its sound window among the batch's, and the other way round (InfoNCE), while the cosine
    stays a probability.

    Windows nearer than `spacing` frames count as neither right nor wrong; with `near` they are wrong answers of the
    choice, though not of the probability.

    Without `other_clips` the choice is among the windows of one clip alone. Otherwise much of the choice can be learnt
    by whose face and voice it is, which says nothing of time.

    With `lips` one linear layer has to read the opening of the lips, frame by frame, from either embedding. Both then
    speak of the same thing from the start, which shortens the time at chance. The layer is not part of the network.

    Batch: frames (B, W, C, H, W'), mel (B, W + N, 1, 80, T) of which the first W belong to the pictures, lips
    (B, W + N, F) float32, start (B, W + N) int64 frames, clip (B,) int64, seed (B,). The windows compared are those of
    one process.
    """

    network: SyncNet

    def __init__(
        self,
        network: SyncNet,
        *,
        temperature: float,
        probability: float,
        spacing: int,
        near: bool = False,
        lips: float,
        other_clips: bool,
        num_frames: int,
    ) -> None:
        super().__init__(network)
        self.other_clips, self.near = other_clips, near
        self.temperature, self.probability, self.spacing, self.lips = temperature, probability, spacing, lips
        width = network.visual_config.block_out_channels[-1]
        self.reader = nn.Linear(width, num_frames) if lips else None
        self.pairs_seen = 0
        """Pairs compared in the last batch, in this process."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        frames, mel, start = batch["frames"], batch["mel"], batch["start"]
        windows, sounds = frames.shape[1], mel.shape[1]
        with own_chance(self.network, batch["seed"]):
            visual, audio = self.network(as_input(frames.flatten(0, 1)), mel.flatten(0, 1))
        cosine = visual.float() @ audio.float().T
        self.pairs_seen = cosine.numel()
        clip_v, clip_a = batch["clip"].repeat_interleave(windows), batch["clip"].repeat_interleave(sounds)
        start_v, start_a = start[:, :windows].flatten(), start.flatten()
        own = (torch.arange(len(visual), device=cosine.device) // windows) * sounds
        own = own + torch.arange(len(visual), device=cosine.device) % windows
        same = clip_v[:, None] == clip_a[None]
        apart = (start_v[:, None] - start_a[None]).abs()
        wrong, never = ~(same & (apart < self.spacing)), ~(same & (apart < 1))
        right = torch.zeros_like(wrong).scatter_(1, own[:, None], True)
        if not self.other_clips:
            wrong, never = wrong & same, never & same
        terms = {"choice": self._choice(cosine, own, (never if self.near else wrong) | right)}
        if self.probability:
            terms["probability"] = self.probability * _balanced(cosine, right, wrong & same, wrong & ~same)
        if self.reader is not None:
            lips = batch["lips"]
            given = (self.reader(visual.float() * 16), lips[:, :windows]), (self.reader(audio.float() * 16), lips)
            terms["lips"] = self.lips * sum((read - true.flatten(0, 1)).square().mean() for read, true in given) / 2
        return terms

    def _choice(self, cosine: Tensor, own: Tensor, counted: Tensor) -> Tensor:
        logits = (cosine / self.temperature).masked_fill(~counted, float("-inf"))
        by_picture = torch.nn.functional.cross_entropy(logits, own)
        by_sound = torch.nn.functional.cross_entropy(logits[:, own].T, torch.arange(len(own), device=own.device))
        return (by_picture + by_sound) / 2


def _balanced(cosine: Tensor, right: Tensor, hard: Tensor, easy: Tensor) -> Tensor:
    """Cross-entropy with as much weight on right pairs as on wrong ones; among these, three quarters on `hard` ones."""
    as_right = pair_loss(cosine[right], torch.ones_like(cosine[right])).mean()
    parts = [(pair_loss(cosine[kind], torch.zeros_like(cosine[kind])).mean(), share) for kind, share in
             ((hard, 0.75), (easy, 0.25)) if bool(kind.any())]  # fmt: skip
    if not parts:
        return as_right
    total = sum(share for _, share in parts)
    as_wrong = torch.stack([value * (share / total) for value, share in parts]).sum()
    return (as_right + as_wrong) / 2
