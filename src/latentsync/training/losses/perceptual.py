"""Distance of pictures in a network's features: LPIPS from its published files, or the autoencoder's own encoder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from latentsync.metrics.perceptual import PerceptualNetwork, perceptual_distance
from latentsync.models.autoencoder import SdAutoencoder
from latentsync.models.tiny_autoencoder import ResidualBlock, TinyAutoencoder
from latentsync.models.vgg import load_lpips_network


def lower_half(pictures: Tensor) -> Tensor:
    """Rows H/2 … H − 1 of (…, H, W)."""
    return pictures[..., pictures.shape[-2] // 2 :, :]


class EncoderFeatures(nn.Module):
    """What the stages of an autoencoder's encoder see. Ours, where no published network is at hand."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(autoencoder, (SdAutoencoder, TinyAutoencoder)):
            raise TypeError(f"no features known of {type(autoencoder).__name__}")
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [−1, 1] → one map per level of the encoder."""
        out = []
        if isinstance(self.autoencoder, SdAutoencoder):
            encoder = self.autoencoder.network.encoder
            x = encoder.conv_in(pictures)
            for block in encoder.down_blocks:
                x = block(x)
                out.append(x)
            return out
        x = pictures
        layers = list(self.autoencoder.encoder)
        for layer, following in pairwise(layers):
            x = layer(x)
            if isinstance(layer, ResidualBlock) and not isinstance(following, ResidualBlock):
                out.append(x)
        return out


class PerceptualLoss(nn.Module):
    """Mean perceptual distance of the lower halves of two sets of pictures.

    Args:
        name: what it is called in reports; "LPIPS" only with the published network and its heads.
        layers: (B, 3, H, W) in [−1, 1] → feature maps.
        heads: one (C,) weight per map; None = 1/C each.
    """

    def __init__(self, name: str, layers: nn.Module, heads: list[Tensor] | None = None) -> None:
        super().__init__()
        self.name, self.layers, self.num_heads = name, layers, len(heads or ())
        for index, head in enumerate(heads or ()):
            self.register_buffer(f"head{index}", head)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """(N, 3, H, W) each, in about [−1, 1] → a scalar."""
        return self.distance(lower_half(made), lower_half(real))

    def distance(self, made: Tensor, real: Tensor) -> Tensor:
        """As `forward`, of whole pictures."""
        heads = [self.get_buffer(f"head{index}") for index in range(self.num_heads)] or None
        network = PerceptualNetwork(self.name, self.layers, heads)
        return perceptual_distance(network, made, real).mean()


def load_lpips(vgg: Path, heads: Path) -> PerceptualLoss:
    """LPIPS v0.1 with VGG-16 from its two published files.

    Args:
        vgg: torchvision's `vgg16-397923af.pth`; the classifier in it is not used.
        heads: the linear layers, `lin{0…4}.model.1.weight` (1, C, 1, 1).
    Raises: WeightsError: a file is missing or is something else.
    """
    return PerceptualLoss("LPIPS v0.1 (VGG-16)", *load_lpips_network(vgg, heads))
