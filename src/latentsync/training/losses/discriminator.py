"""A small discriminator of mouths: does this picture look filmed? Its features double as a perceptual distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
"""Of the leaky rectifiers."""
GAIN = 12.0
"""Of opinions: spectral norm holds every layer to a slope of 1, which leaves the differences of smooth faces tiny; for
180 steps of a run without it, opinions of real and made mouths differed by less than 0.1."""


FEATURE_GAIN = 4.0
"""The same of heads on features, whose size is 1 in every channel."""


class PatchCritic(nn.Module):
    """Strided convolutions with spectral norm; one opinion for each patch of the picture.

    forward: (B, 3, H, W) in [−1, 1] → opinions (B, 1, H/16, W/16), and the features of every level.
    """

    def __init__(self, widths: Sequence[int] = (48, 96, 192, 256)) -> None:
        super().__init__()
        levels = []
        before = 3
        for width in widths:
            levels.append(spectral_norm(nn.Conv2d(before, width, 4, stride=2, padding=1)))
            before = width
        self.levels = nn.ModuleList(levels)
        self.mix = spectral_norm(nn.Conv2d(before, before, 3, padding=1))
        self.opinion = spectral_norm(nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, features = pixels.contiguous(memory_format=torch.channels_last), []
        for level in [*self.levels, self.mix]:
            hidden = functional.leaky_relu(level(hidden), SLOPE)
            features.append(hidden)
        return GAIN * self.opinion(hidden), features


class FeatureCritic(nn.Module):
    """Small heads that judge what a pretrained network sees: from little data, a discriminator learns to see only
    slowly.

    forward: feature maps (B, C, h, w), one for each of `channels` → opinions of their heads.
    Source: Sauer et al. 2021, "Projected GANs Converge Faster"; plain heads here, without random mixing.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for count in channels:
            mix, look = nn.Conv2d(count, width, 1), nn.Conv2d(width, width, 4, stride=2, padding=1)
            layers = [spectral_norm(layer) for layer in (mix, look, nn.Conv2d(width, 1, 3, padding=1))]
            slope = nn.LeakyReLU(SLOPE)
            self.heads.append(nn.Sequential(layers[0], slope, layers[1], slope, layers[2]))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        opinions = []
        for head, seen in zip(self.heads, features, strict=True):
            size = seen.float().square().mean(1, keepdim=True).add(1e-4).sqrt().to(seen)
            opinions.append(FEATURE_GAIN * head(seen / size))
        return opinions


class Discriminator(nn.Module):
    """Two patch discriminators: one at full size for texture, one at half size for the shape of the mouth.

    Attributes:
        heads: a `FeatureCritic` beside them, for those who have features; None = none.
    """

    heads: FeatureCritic | None

    def __init__(self, widths: Sequence[int] = (48, 96, 192, 256), channels: Sequence[int] = ()) -> None:
        super().__init__()
        self.heads = FeatureCritic(channels) if channels else None
        self.fine, self.coarse = PatchCritic(widths), PatchCritic(widths[:-1])

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 3, H, W) → opinions of both, features of both."""
        fine, fine_features = self.fine(pixels)
        coarse, coarse_features = self.coarse(functional.avg_pool2d(pixels, 2))
        return [fine, coarse], fine_features + coarse_features


def feature_distance(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of two lists of features, each level over its own mean size, so that all weigh alike."""
    terms = []
    for a, b in zip(made, wanted, strict=True):
        scale = b.detach().float().abs().mean().clamp_min(1e-4)
        terms.append((a.float() - b.float()).abs().mean() / scale)
    return torch.stack(terms).mean()


def discriminator_terms(discriminator: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Hinge terms of the discriminator: real pictures above 1, made ones below −1 (Lim & Ye 2017, "Geometric GAN")."""
    opinions, _ = discriminator(torch.cat([real, fake]))
    return hinge_terms(opinions, len(real))


def hinge_terms(opinions: Sequence[Tensor], n: int) -> dict[str, Tensor]:
    """`real` of the first n rows of the opinions, `fake` of the others."""
    return {
        "real": torch.stack([functional.relu(1 - o[:n].float()).mean() for o in opinions]).mean(),
        "fake": torch.stack([functional.relu(1 + o[n:].float()).mean() for o in opinions]).mean(),
    }
