"""The U-Net's input, once, for training and for sampling: noisy latents, keep mask, masked latents, reference latents.

Source: LatentSync paper (arXiv 2412.09262), section 3.1: 13 channels = 4 noisy + 1 mask + 4 masked + 4 reference.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def input_channels(latent_channels: int, num_references: int = 1) -> int:
    """Channels of the U-Net's input: 13 for 4 latent channels and one reference."""
    return (2 + num_references) * latent_channels + 1


def conditioning(keep: Tensor, masked: Tensor, references: Tensor) -> Tensor:
    """What stays beside the noisy latents in every step.

    Args:
        keep: (h, w), 1 = copied from the frame, 0 = generated.
        masked: (B, c, F, h, w) latents of the frames without their mouths.
        references: (B, n·c, F, h, w) latents of n reference frames, one after another on the channels.
    Returns: (B, 1 + c + n·c, F, h, w), dtype of `masked`.
    """
    b, _, f, h, w = masked.shape
    return torch.cat([keep.to(masked.dtype).view(1, 1, 1, h, w).expand(b, 1, f, h, w), masked, references], dim=1)


def unet_input(noisy: Tensor, fixed: Tensor) -> Tensor:
    """(B, c, F, h, w) noisy latents and what `conditioning` gives → the U-Net's input (B, (n + 2)·c + 1, F, h, w)."""
    return torch.cat([noisy, fixed], dim=1)


def generated_cells(mask: Tensor, factor: int) -> Tensor:
    """Latent cells that a mask touches, and their neighbours, which decoding looks at.

    Args: mask: (R, R), 1 = generated. factor: side of a latent cell, pixels.
    Returns: (h, w) float32 of 0 and 1.
    """
    touched = functional.max_pool2d(mask[None, None], factor)
    return functional.max_pool2d(touched, 3, stride=1, padding=1)[0, 0]


def with_null_audio(audio_features: Tensor) -> Tensor:
    """(B, F, K, D) → (2·B, F, K, D): silence of zeros first, the null condition of classifier-free guidance."""
    return torch.cat([torch.zeros_like(audio_features), audio_features])
