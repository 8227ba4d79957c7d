"""A real model of a few thousand parameters, seeded: every part of the pipeline runs as with a big one."""

from __future__ import annotations

from typing import Any

import torch

from latentsync.core.values import Float
from latentsync.faces.protocol import FaceTracker
from latentsync.generation.networks import Networks
from latentsync.generation.settings import ModelSettings
from latentsync.models import UNet
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.pipeline import Lipsync

RESOLUTION = 64
FRAMES = 4
SETTINGS: dict[str, Any] = {
    "resolution": RESOLUTION, "num_frames": FRAMES, "fps": 25, "mask": "mask", "scheduler": "flow",
    "prediction": "x0", "steps": 1, "guidance": 1.0,
}  # fmt: skip
UNET = {
    "in_channels": 13, "out_channels": 4, "block_out_channels": [8], "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock3D"], "up_block_types": ["CrossAttnUpBlock3D"], "attention_head_dim": 2,
    "cross_attention_dim": 8, "norm_num_groups": 4, "use_motion_module": True, "motion_module_resolutions": [1],
    "zero_initialize_conv_in": False, "zero_initialize_conv_out": False,
    "motion_module_kwargs": {"num_attention_heads": 2, "zero_initialize": False},
}  # fmt: skip
AUDIO_ENCODER = {
    "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 16, "positions": 100, "states": [1],
    "final_norm": True, "output_width": 8,
}  # fmt: skip


def networks(seed: int = 0) -> Networks:
    """Random networks on the CPU in float32, ready to run."""
    torch.manual_seed(seed)
    autoencoder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8)))
    parts = [UNet.from_config(UNET), autoencoder, AudioEncoder.from_config(AUDIO_ENCODER)]
    unet, coder, audio_encoder = (part.eval().requires_grad_(False) for part in parts)
    return Networks(unet, coder, audio_encoder, torch.device("cpu"), torch.float32)  # type: ignore[arg-type]


def lipsync(tracker: FaceTracker, **changes: Any) -> Lipsync:
    """A `Lipsync` around the micro networks; `changes` are settings of the model."""
    mapping = SETTINGS | changes
    settings = ModelSettings.from_index(mapping, "micro")
    return Lipsync(networks(), settings, tracker, "micro", index_settings=mapping)


def difference(made: Float, source: Float) -> float:
    """Largest absolute difference of two uint8 pictures."""
    return float(abs(made.astype(int) - source.astype(int)).max())
