"""Small networks and made clips for tests of few-step training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentsync.faces import topology as mesh
from latentsync.models import UNet
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.training.datasets import SoundRange, TrainingData, open_data
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.augment import NO_AUGMENTATION
from latentsync.training.tasks.tiny_unet.data import Windows
from latentsync.training.tasks.tiny_unet.objective import FewStepConfig, FewStepObjective
from micro_model import AUDIO_ENCODER, UNET

LIP_PREDICTOR = UNET | {"audio_embedding_tokens": 10, "audio_code": 3, "audio_map_channels": 4}
AUTOENCODER = {"class": "TinyAutoencoder", "latent_channels": 4, "widths": [8, 8, 8]}
SETTINGS: dict[str, Any] = {
    "objective": "few_step",
    "unet": LIP_PREDICTOR,
    "num_frames": 4,
    "sounds": 1,
    "drives": 1,
    "warm_up": {"steps": 2},
    "components": {"autoencoder": AUTOENCODER, "audio_encoder": {"class": "AudioEncoder", **AUDIO_ENCODER}},
    "reader": {"steps": 2},
    "few_step": {
        "teacher_forcing": 0.5,
        "shape_weight": 1.0,
        "pixel_weight": 1.0,
        "pixel_frames": 2,
        "discriminator_weight": 0.1,
        "feature_weight": 0.5,
    },
}


def loud(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose loudness is the mouth's opening: wave (S,), opening (frames,) in [0, 1]."""
    rng = np.random.default_rng(seed)
    opening = np.interp(np.arange(frames), np.arange(0, frames + 8, 4), rng.random(len(np.arange(0, frames + 8, 4))))
    level = np.repeat(opening, 640)
    return (rng.normal(0, 0.2, 640 * frames) * (0.02 + level)).astype(np.float32), opening


def talking_mesh(opening: np.ndarray) -> np.ndarray:
    """(F, 468, 2): eyes 100 px apart, the lower lip `opening` · 20 px below its rest."""
    rng = np.random.default_rng(1)
    points = np.repeat(rng.uniform(60, 200, (1, 468, 2)), len(opening), axis=0)
    points[:, mesh.LEFT_EYE_OUTER], points[:, mesh.RIGHT_EYE_OUTER] = (78, 100), (178, 100)
    for upper, lower in mesh.INNER_LIP_PAIRS:
        points[:, upper] = (128, 180)
        points[:, lower, 0] = 128
        points[:, lower, 1] = 180 + 20 * opening
    return points.astype(np.float32)


def write_people(folder: Path) -> TrainingData:
    """Ann and Bob to learn from, Cleo and Dan held out; grey level 2·k, mouths as open as the sound is loud."""
    for seed, (name, split) in enumerate((("ann", "train"), ("bob", "train"), ("cleo", "val"), ("dan", "val"))):
        clip = folder / "clips" / name
        clip.mkdir(parents=True)
        wave, opening = loud(40, seed)
        crops = np.zeros((40, 256, 256, 3)) + 2 * np.arange(40)[:, None, None, None]
        np.save(clip / "crops.npy", crops.astype(np.uint8))
        np.save(clip / "mesh.npy", talking_mesh(opening))
        np.save(clip / "wave.npy", wave)
        (clip / "meta.json").write_text(json.dumps({"person": name, "split": split, "in_sync": True, "fps": 25}))
    return open_data([folder / "clips"], cache=folder / "cache")


def audio_encoder() -> AudioEncoder:
    """A random audio encoder that does not learn."""
    torch.manual_seed(0)
    return AudioEncoder.from_config(AUDIO_ENCODER).eval().requires_grad_(False)


def windows(data: TrainingData, frames: int = 4, seed: int = 0, open_reference: bool = False) -> Windows:
    """Windows of the clips to learn from, without looks and changed sounds."""
    hearing = ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())
    return Windows(
        data.train, hearing, frames=frames, seed=seed, look=NO_AUGMENTATION, sounds=1, open_reference=open_reference
    )


def objective(config: FewStepConfig, unet: UNet | None = None) -> FewStepObjective:
    """Networks, random where none is given, and what is asked of them."""
    torch.manual_seed(0)
    coder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8, 8)))
    return FewStepObjective(unet or UNet.from_config(LIP_PREDICTOR), coder, config)


def batch_of(source: Windows, *numbers: int) -> dict[str, torch.Tensor]:
    """The examples of these numbers, stacked."""
    return {
        key: torch.stack([source.example(n)[key] for n in numbers])
        for key in ("target", "references", "audio_features", "seed")
    }  # fmt: skip
