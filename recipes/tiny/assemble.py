"""Put the trained networks together into the folder that ships.

python recipes/tiny/assemble.py --unet F --autoencoder F --audio-encoder F --out src/latentsync/assets/tiny
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from latentsync.models import UNet
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.weights import Licence, open_checkpoint, save_model
from latentsync.training.datasets.audio_features import load_component
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.tasks.tiny_unet.task import set_motion, take_lip_predictor

SETTINGS = {
    "resolution": 256, "num_frames": 8, "fps": 25, "mask": "mask", "paste_mask": "mask3", "feather": 18 / 256,
    "prediction": "x0", "scheduler": "flow",
    "steps": 1, "guidance": 1.0, "overlap_frames": 2,
    "tiny": {"window": [6, 16, 2, 14], "num_references": 2, "warp": "lips", "residual": True, "detail_residual": True,
             "teeth_colour_guard": True, "keep_latents": True},
    "trailing_silence_s": 5.0, "silence": "closed", "position_code": True,
}  # fmt: skip


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("unet", "autoencoder", "audio-encoder", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--lip-predictor",
        type=Path,
        help="folder of `latentsync train lip_predictor`, where the U-Net has another lip predictor",
    )
    parser.add_argument(
        "--articulation", type=float, default=1.0,
        help="times what the lip predictor says of the lips; what is regressed moves too little",
    )  # fmt: skip
    parser.add_argument(
        "--rounding", type=float, default=1.0,
        help="times number 1 of the code, lips wide or round, beside --articulation",
    )  # fmt: skip
    parser.add_argument(
        "--emphasis", type=float, default=1.0,
        help="times the change from the still reference that the network draws; too small on new people, too",
    )  # fmt: skip
    parser.add_argument("--provenance", type=Path, help="JSON file: data, licences, training")
    args = parser.parse_args()
    parts = {
        "unet": load_component(args.unet, UNet),
        "autoencoder": load_component(args.autoencoder, TinyAutoencoder),
        "audio_encoder": load_component(args.audio_encoder, AudioEncoder),
    }
    if args.lip_predictor is not None:
        take_lip_predictor(parts["unet"], args.lip_predictor)
        set_motion(
            parts["unet"],
            LipParameterBasis.from_tensors(open_checkpoint(args.lip_predictor / "lips.safetensors").tensors),
        )
    if not parts["unet"].lip_predictor.motion.any():
        parser.error(
            "the U-Net does not say how lips move with its code: give the folder of its lip predictor, --lip-predictor"
        )
    with torch.no_grad():
        for values in (parts["unet"].lip_predictor.head.weight, parts["unet"].lip_predictor.head.bias):
            values.mul_(args.articulation)
            values[1] *= args.rounding
        for values in (parts["unet"].conv_out.weight, parts["unet"].conv_out.bias):
            values.mul_(args.emphasis)
    ours = "https://www.apache.org/licenses/LICENSE-2.0"
    notes = {"audio_encoder": "fine-tuned from OpenAI's Whisper tiny.en, MIT, Copyright (c) 2022 OpenAI: see NOTICE"}
    save_model(
        args.out, parts, name="tiny", settings=SETTINGS, dtype=torch.float16, overwrite=True,
        licences=[Licence(part=part, name="Apache-2.0", url=ours, note=notes.get(part, "")) for part in parts],
        provenance=json.loads(args.provenance.read_text()) if args.provenance else {},
    )  # fmt: skip


if __name__ == "__main__":
    main()
