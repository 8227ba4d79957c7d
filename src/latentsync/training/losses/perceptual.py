"""Distance of pictures in a network's features: LPIPS from its published files, or the autoencoder's own encoder."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.core.errors import WeightsError
from latentsync.metrics.perceptual import PerceptualNetwork, perceptual_distance
from latentsync.models.autoencoder import SdAutoencoder
from latentsync.models.tiny_autoencoder import ResidualBlock, TinyAutoencoder
from latentsync.models.weights import load_strict, open_checkpoint

VGG_LAYERS: tuple[int | str, ...] = (
    64, 64, "tap", "pool", 128, 128, "tap", "pool", 256, 256, 256, "tap", "pool", 512, 512, 512, "tap", "pool",
    512, 512, 512, "tap",
)  # fmt: skip
"""VGG-16: widths of its 3×3 convolutions; "tap" = the last ReLU of a stage is compared. Source: LPIPS v0.1."""
VGG_TAPS = (64, 128, 256, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Pictures in [−1, 1] minus SHIFT over SCALE: ImageNet statistics in that range (LPIPS v0.1)."""


def lower_half(pictures: Tensor) -> Tensor:
    """Rows H/2 … H − 1 of (…, H, W)."""
    return pictures[..., pictures.shape[-2] // 2 :, :]


class Vgg16(nn.Module):
    """The convolutions of VGG-16 under torchvision's names (`features.N`), giving the first of its five stages."""

    def __init__(self, stages: int = len(VGG_TAPS)) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        self._plan: list[str] = []
        width, index = 3, 0
        end = [k for k, layer in enumerate(VGG_LAYERS) if layer == "tap"][stages - 1]
        for layer in VGG_LAYERS[: end + 1]:
            if isinstance(layer, int):
                self.features[str(index)] = nn.Conv2d(width, layer, 3, padding=1)
                self._plan.append(str(index))
                width, index = layer, index + 2
            else:
                self._plan.append(layer)
                index += layer == "pool"
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [−1, 1] → relu1_2, relu2_2, relu3_3, relu4_3, relu5_3, or fewer."""
        x = (pictures - self.get_buffer("shift")) / self.get_buffer("scale")
        out = []
        for step in self._plan:
            if step == "tap":
                out.append(x)
            elif step == "pool":
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.relu(self.features[step](x))
        return out


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
    network = Vgg16()
    state = {k: v for k, v in open_checkpoint(vgg).tensors.items() if k.startswith("features.")}
    load_strict(network, state, str(vgg))
    return PerceptualLoss("LPIPS v0.1 (VGG-16)", network, _heads(open_checkpoint(heads).tensors, heads))


def load_vgg(path: Path, stages: int) -> Vgg16:
    """The first stages of a VGG-16 from a file with torchvision's names (recipes/tiny/vgg.py makes one).

    Raises: WeightsError: the file is missing or is something else.
    """
    network = Vgg16(stages)
    known = network.state_dict()
    state = {key: value for key, value in open_checkpoint(path).tensors.items() if key in known}
    load_strict(network, state, str(path))
    return network


def _heads(state: Mapping[str, Tensor], path: Path) -> list[Tensor]:
    found = []
    for index, width in enumerate(VGG_TAPS):
        names = [name for name in state if name.startswith((f"lin{index}.", f"lins.{index}."))]
        if len(names) != 1 or state[names[0]].numel() != width:
            raise WeightsError(f"{path}: no layer lin{index} of width {width}. Give the LPIPS v0.1 heads for VGG")
        found.append(state[names[0]].flatten().float())
    return found
