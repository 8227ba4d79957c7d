"""The mean of networks of one shape, trained on from the same start: often better than each of them.

python recipes/tiny/mean.py V/best V2/component --out M
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from latentsync.models.weights import open_checkpoint


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="components: config.json and model.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    args = parser.parse_args()
    configs = {(folder / "config.json").read_text("utf-8") for folder in args.folders}
    if len(configs) > 1:
        parser.error("their config.json differ: only networks of one shape have a mean")
    parts = [open_checkpoint(folder / "model.safetensors").tensors for folder in args.folders]
    mean = {key: torch.stack([part[key].float() for part in parts]).mean(0).to(parts[0][key].dtype) for key in parts[0]}
    args.out.mkdir(parents=True)
    shutil.copyfile(args.folders[0] / "config.json", args.out / "config.json")
    save_file(mean, args.out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
