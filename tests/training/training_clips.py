"""Made clips for tests of training: a mouth that opens with the loudness of a made voice."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from latentsync.faces.topology import INNER_LIP_PAIRS, LEFT_EYE_OUTER, RIGHT_EYE_OUTER

SIDE = 64


def talk(seed: int, num_frames: int, late_s: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (F, 64, 64, 3) uint8, mesh (F, 468, 2) float32 and wave (S,) float32 of syllables at drawn times.

    The mouth is a dark ellipse as high as the voice is loud; `late_s` moves the sound.
    """
    rng = np.random.default_rng(seed)
    at = np.arange(round(num_frames / 25 * 16000)) / 16000
    times = np.cumsum(rng.uniform(0.14, 0.4, 40))
    loud = lambda t: np.exp(-(((t[:, None] - times[None]) / 0.05) ** 2)).max(axis=1)  # noqa: E731
    opening = loud((np.arange(num_frames) + 0.5) / 25)
    voice = loud(at - late_s) * rng.standard_normal(len(at)) * 0.15
    wave = (voice + 0.002 * rng.standard_normal(len(at))).astype(np.float32)
    skin, mesh = rng.integers(120, 230, 3), np.zeros((num_frames, 468, 2), np.float32)
    mesh[:, LEFT_EYE_OUTER], mesh[:, RIGHT_EYE_OUTER] = (16, 24), (48, 24)
    crops = np.empty((num_frames, SIDE, SIDE, 3), np.uint8)
    for k, height in enumerate(opening * 10):
        crops[k] = skin
        cv2.ellipse(crops[k], (32, 48), (10, round(1 + height)), 0, 0, 360, (40, 10, 10), -1)
        for upper, lower in INNER_LIP_PAIRS:
            mesh[k, upper], mesh[k, lower] = (32, 48 - height), (32, 48 + height)
    return crops, mesh, wave


def write_clip(folder: Path, person: str, split: str, seed: int, num_frames: int = 60, late_s: float = 0.0) -> Path:
    """A prepared clip on disk."""
    folder.mkdir(parents=True)
    for name, values in zip(("crops", "mesh", "wave"), talk(seed, num_frames, late_s), strict=True):
        np.save(folder / f"{name}.npy", values)
    meta = {"person": person, "split": split, "in_sync": True}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def write_set(root: Path, people: int = 4, clips: int = 2, num_frames: int = 60, late_s: float = 0.0) -> Path:
    """`people` people to learn from and two to be judged on, with `clips` clips each."""
    for number in range(people + 2):
        split = "train" if number < people else "val"
        for clip in range(clips):
            write_clip(root / f"p{number}-{clip}", f"p{number}", split, 10 * number + clip, num_frames, late_s)
    return root
