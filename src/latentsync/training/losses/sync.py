"""Does the generated mouth say the sound? Asked of a frozen SyncNet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from latentsync.models.syncnet import SyncNet
from latentsync.training.losses.perceptual import lower_half


def mel_columns(start: int, num_frames: int) -> tuple[int, int]:
    """First and past-the-last `syncnet_mel` column of a window: floor(3.2·start), ceil(3.2·F) wide.

    Source: docs/method.md#syncnet-mel.
    """
    first = 80 * start // 25
    return first, first - (-16 * num_frames // 5)


def sync_cosine_loss(visual: Tensor, audio: Tensor) -> Tensor:
    """−log cos of unit vectors (B, D) without negative entries: cross-entropy of the cosine against 1, log ≥ −100.

    Source: docs/method.md#training-step, L_sync.
    """
    cosine = (visual.float() * audio.float()).sum(1).clamp(0, 1)
    with torch.autocast(cosine.device.type, enabled=False):
        return functional.binary_cross_entropy(cosine, torch.ones_like(cosine))


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncNetFacts:
    """What a SyncNet looks at: `num_frames`, side of the crop in pixels, lower half only, pixels or latents."""

    num_frames: int = 16
    resolution: int = 256
    lower_half: bool = True
    input: str = "pixel"


class SyncLoss(nn.Module):
    """The loss of a SyncNet on pixels or on latents, which follows `consult` to its device."""

    def __init__(self, network: SyncNet, facts: SyncNetFacts) -> None:
        super().__init__()
        self.network, self.facts = network, facts

    def visual_input(self, frames: Tensor) -> Tensor:
        """(B, F, c, H, W) → (B, F·c, H, W) as the network sees it.

        Pixels are enlarged or shrunk to its resolution (bicubic, no antialiasing), stacked frame by frame on the
        channels, and cut to the lower half; latents are stacked as they are.
        """
        size = self.facts.resolution
        if self.facts.input == "latent":
            return frames.flatten(1, 2)
        flat = frames.flatten(0, 1)
        if flat.shape[-2:] != (size, size):
            flat = functional.interpolate(flat.float(), (size, size), mode="bicubic", align_corners=False)
        stacked = flat.unflatten(0, frames.shape[:2]).flatten(1, 2)
        return lower_half(stacked) if self.facts.lower_half else stacked

    def forward(self, frames: Tensor, mel: Tensor) -> Tensor:
        """frames (B, F, 3, H, W) in [−1, 1] or latents (B, F, c, h, w); mel (B, 1, 80, W) → a scalar."""
        seen = self.visual_input(frames)
        if torch.is_grad_enabled() and seen.requires_grad:
            visual, audio = checkpoint(self.network, seen, mel, use_reentrant=False)
        else:
            visual, audio = self.network(seen, mel)
        return sync_cosine_loss(visual, audio)

    def features(self, frames: Tensor) -> Tensor:
        """What the visual side sees, (B, D), for the temporal loss without VideoMAE."""
        return self.network.visual_encoder(self.visual_input(frames))
