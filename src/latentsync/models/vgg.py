"""VGG-16 without its classifier, whose features pictures are compared in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.core.errors import WeightsError

VGG_LAYERS: tuple[int | str, ...] = (
    64, 64, "tap", "pool", 128, 128, "tap", "pool", 256, 256, 256, "tap", "pool", 512, 512, 512, "tap", "pool",
    512, 512, 512, "tap",
)  # fmt: skip
"""VGG-16: widths of its 3×3 convolutions; "tap" = the last ReLU of a stage is compared. Source: LPIPS v0.1."""
VGG_TAPS = (64, 128, 256, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Pictures in [−1, 1] minus SHIFT over SCALE: ImageNet statistics in that range (LPIPS v0.1)."""


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


def load_vgg(path: Path, stages: int) -> Vgg16:
    """The first stages of a VGG-16 from a file with torchvision's names (recipes/tiny/vgg.py makes one).

    Raises: WeightsError: the file is missing or is something else.
    """
    from latentsync.models.weights import load_strict, open_checkpoint

    network = Vgg16(stages)
    known = network.state_dict()
    state = {key: value for key, value in open_checkpoint(path).tensors.items() if key in known}
    load_strict(network, state, str(path))
    return network


def load_lpips_network(vgg: Path, heads: Path) -> tuple[Vgg16, list[Tensor]]:
    """LPIPS v0.1: the network, and a (C,) weight for each of its five stages.

    Args: see `training.losses.perceptual.load_lpips`. Raises: WeightsError: a file is missing or is something else.
    """
    from latentsync.models.weights import load_strict, open_checkpoint

    network = Vgg16()
    state = {k: v for k, v in open_checkpoint(vgg).tensors.items() if k.startswith("features.")}
    load_strict(network, state, str(vgg))
    return network, _heads(open_checkpoint(heads).tensors, heads)


def _heads(state: Mapping[str, Tensor], path: Path) -> list[Tensor]:
    found = []
    for index, width in enumerate(VGG_TAPS):
        names = [name for name in state if name.startswith((f"lin{index}.", f"lins.{index}."))]
        if len(names) != 1 or state[names[0]].numel() != width:
            raise WeightsError(f"{path}: no layer lin{index} of width {width}. Give the LPIPS v0.1 heads for VGG")
        found.append(state[names[0]].flatten().float())
    return found
