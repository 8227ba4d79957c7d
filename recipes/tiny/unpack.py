"""Take the model that ships apart, to go on training from it without the lip predictor's and the U-Net's own folders.

python recipes/tiny/unpack.py --out START

Writes START/unet (for `train unet --start`), START/lip_predictor (for `task.lip_predictor` and
`task.components.audio_encoder`) and START/autoencoder. The lip predictor tells the lips with the factors of
`assemble.py --articulation` and `--rounding` already in
it: assemble what comes of it with neither of them (both 1). What the numbers of its code mean is in `lips.safetensors`
beside this file.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import save_file

from latentsync.models.weights import open_checkpoint

SHIPPED = Path(__file__).parents[2] / "src" / "latentsync" / "assets" / "tiny"
MEANING = Path(__file__).with_name("lips.safetensors")
LIP_PREDICTOR = ("lip_predictor.linear_1.", "lip_predictor.linear_2.", "lip_predictor.head.")


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--lips", type=Path, default=MEANING)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    for part, name in (("unet", "unet"), ("audio_encoder", "lip_predictor"), ("autoencoder", "autoencoder")):
        (args.out / name).mkdir()
        shutil.copyfile(args.model / part / "config.json", args.out / name / "config.json")
        tensors = {
            key: value.float()
            for key, value in open_checkpoint(args.model / part / "model.safetensors").tensors.items()
        }
        save_file(tensors, args.out / name / "model.safetensors", metadata={"format": "pt"})
        if part == "unet":
            taught = {
                key.removeprefix("lip_predictor."): value
                for key, value in tensors.items()
                if key.startswith(LIP_PREDICTOR)
            }
    save_file(taught, args.out / "lip_predictor" / "lip_predictor.safetensors", metadata={"format": "pt"})
    shutil.copyfile(args.lips, args.out / "lip_predictor" / "lips.safetensors")


if __name__ == "__main__":
    main()
