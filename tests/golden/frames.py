"""Hashes of every frame that fixed runs write: a change that should change no number is held against them.

    python tests/golden/frames.py --write before.json      # before the change
    python tests/golden/frames.py --against before.json    # after it; exit code 1 and the first differing frame if any

Runs: the shipped sample with `tiny`; two filmed clips with `tiny`, where the folder `--data` has them; a seeded random
model of the released shape (ε-prediction, DDIM, guidance, Stable Diffusion autoencoder) in both paste modes; a micro
model in `stream`. Hashes hold on one machine and one version of PyTorch; another processor may round otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

SAMPLE = Path(__file__).parents[2] / "src" / "latentsync" / "assets" / "sample"
FILMED = ("osalinasv-lipnet-grid-s1-lrar1s.mpg", "bytedance-LatentSync-demo2_video.mp4")
RELEASED = {
    "in_channels": 13, "out_channels": 4, "block_out_channels": [32, 64], "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"], "attention_head_dim": 4, "cross_attention_dim": 384,
    "norm_num_groups": 8, "use_motion_module": True, "motion_module_resolutions": [1, 2],
    "zero_initialize_conv_in": False, "zero_initialize_conv_out": False,
    "motion_module_kwargs": {"num_attention_heads": 4, "zero_initialize": False},
}  # fmt: skip
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [8, 8, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 0.18215, "sample_size": 64,
}  # fmt: skip
ENCODER = {
    "width": 384, "num_layers": 4, "num_heads": 6, "feed_forward": 64, "positions": 100, "states": [0, 1, 2, 3, 4],
    "final_norm": True, "output_width": 384,
}  # fmt: skip


def frame_hashes(path: Path) -> list[str]:
    """Of every decoded frame, and of its time."""
    from latentsync.media import VideoReader

    with VideoReader(path) as reader:
        return [
            hashlib.sha256(np.ascontiguousarray(f.picture.rgb()).tobytes() + str(f.time_s).encode()).hexdigest()[:20]
            for f in reader
        ]


def released_shape(folder: Path) -> Path:
    """A model folder with a seeded random model as released, but narrow."""
    from latentsync.models import UNet
    from latentsync.models.weights import save_model
    from latentsync.models.weights.layout import build_empty

    torch.manual_seed(15)
    parts = {"unet": UNet.from_config(RELEASED)}
    for part, kind, config in (("autoencoder", "SdAutoencoder", VAE), ("audio_encoder", "AudioEncoder", ENCODER)):
        module = build_empty(kind, config, part).to_empty(device="cpu")
        generator = torch.Generator().manual_seed({"audio_encoder": 8}.get(part, len(part)))
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.08, generator=generator)
        parts[part] = module
    settings = {"resolution": 256, "num_frames": 16, "scheduler": "ddim", "prediction": "epsilon", "steps": 3}
    save_model(folder, parts, name="released-shape", settings={**settings, "guidance": 1.5})
    return folder


def runs(data: Path | None) -> Iterator[tuple[str, list[str]]]:
    from latentsync import Lipsync

    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out.mkv"
        tiny = Lipsync.from_pretrained("tiny", offline=True)
        clips = {"sample": SAMPLE / "talk.mp4"}
        if data is not None:
            clips |= {name: data / name for name in FILMED if (data / name).is_file()}
        for name, clip in clips.items():
            tiny(clip, SAMPLE / "speech.wav", out, codec="ffv1", end_s=Fraction(3), length="video", silence="closed")
            yield f"tiny {name}", frame_hashes(out)
        released = Lipsync.from_pretrained(released_shape(Path(work) / "model"), offline=True, dtype="float32")
        for paste in ("mouth", "compatible"):
            options = {"paste": paste, "codec": "ffv1", "end_s": Fraction(8, 5), "length": "video"}
            released(clips["sample"], SAMPLE / "speech.wav", out, **options)
            yield f"released shape, paste {paste}", frame_hashes(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--data", type=Path, help="folder with the filmed clips")
    arguments = parser.parse_args()
    found = {}
    for name, hashes in runs(arguments.data):
        print(f"{name}: {len(hashes)} frames, {hashlib.sha256(''.join(hashes).encode()).hexdigest()[:16]}")
        found[name] = hashes
    if arguments.write:
        arguments.write.write_text(json.dumps(found, indent=0))
    if not arguments.against:
        return 0
    before = json.loads(arguments.against.read_text())
    differing = 0
    for name in sorted(before.keys() & found.keys()):
        pairs = enumerate(zip(before[name], found[name], strict=False))
        first = next((i for i, (a, b) in pairs if a != b), None)
        if first is not None or len(before[name]) != len(found[name]):
            differing += 1
            print(f"DIFFERS {name}: first at frame {first}, {len(before[name])} and {len(found[name])} frames")
    print("identical" if not differing else f"{differing} runs differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
