"""Prepared clips of synthetic talkers (built-in head) with their true lip gaps, and a ruler for drawn mouths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from latentsync.core.values import Float
from latentsync.faces import alignment_matrix, extract_crop
from latentsync.media.pixels import RgbPicture
from latentsync.synth import SynthConfig, make_clips

MOUTH = (slice(150, 240), slice(64, 192))
"""Rows and columns of the mouth in a 256 px crop."""


def prepare_people(root: Path, people: int, seconds: float, seed: int, held_out: int = 0) -> dict[str, Float]:
    """Write one clip per person as `datasets.clip_files.Clip` wants it, aligned by the true landmarks.

    The last `held_out` people are of split "val". No hand comes before a mouth: the lip gap could not be read there.
    Returns: clip name → (F,) true lip gap in cm.
    """
    config = SynthConfig(
        identities=people, clips_per_identity=1, seconds=seconds, size=320, seed=seed, max_turn_deg=8, hand_share=0
    )
    gaps = {}
    for index, clip in enumerate(make_clips(config)):
        folder = root / f"person{index}"
        folder.mkdir(parents=True)
        crops = []
        for frame, points in zip(clip.frames, clip.truth.landmarks, strict=True):
            three = np.stack([points[17:22].mean(0), points[22:27].mean(0), points[27:36].mean(0)])
            crop = extract_crop(RgbPicture(frame), alignment_matrix(three, 256), 256)
            crops.append(np.rint(crop.clip(0, 1) * 255).astype(np.uint8))
        np.save(folder / "crops.npy", np.stack(crops))
        np.save(folder / "mesh.npy", np.zeros((len(crops), 468, 2), np.float32))
        np.save(folder / "wave.npy", clip.audio[: 640 * len(crops)].astype(np.float32))
        split = "val" if index >= people - held_out else "train"
        meta = {"person": folder.name, "split": split, "in_sync": True, "fps": 25}
        (folder / "meta.json").write_text(json.dumps(meta))
        gaps[folder.name] = np.asarray(clip.truth.lip_gap_cm, np.float32)
    return gaps


def ruler(real: np.ndarray, gap: np.ndarray, components: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares from the first principal components of one person's real mouths to the true gap.

    Args: real: (F, R, R, 3) in [0, 1].
    """
    x = _mouths(real)
    mean = x.mean(0)
    _, _, directions = np.linalg.svd(x - mean, full_matrices=False)
    basis = directions[:components]
    seen = np.c_[(x - mean) @ basis.T, np.ones(len(x))]
    return mean, basis, np.linalg.lstsq(seen, gap, rcond=None)[0]


def measure(made: np.ndarray, how: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(F,) lip gap in cm that a ruler reads from mouths (F, R, R, 3) in [0, 1]."""
    mean, basis, weights = how
    return np.c_[(_mouths(made) - mean) @ basis.T, np.ones(len(made))] @ weights


def _mouths(crops: np.ndarray) -> np.ndarray:
    scale = crops.shape[1] / 256
    rows, columns = (slice(int(s.start * scale), int(s.stop * scale)) for s in MOUTH)
    grey = np.asarray(crops, np.float64)[:, rows, columns].mean(-1)
    high, wide = (n // 4 * 4 for n in grey.shape[1:])
    return grey[:, :high, :wide].reshape(len(grey), high // 4, 4, wide // 4, 4).mean((2, 4)).reshape(len(grey), -1)
