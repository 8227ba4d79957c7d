"""Pictures for metric tests: a smooth face-like clip with fine detail, without any file."""

import cv2
import numpy as np

from latentsync.faces import topology as mesh

SIZE = 96


def clip(num_frames: int = 6, seed: int = 0, detail: float = 12.0) -> np.ndarray:
    """(F, 96, 96, 3) uint8: shading, texture that stays, a dark mouth that opens over time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    shading = 90 + 80 * x + 40 * y
    texture = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 1.0)
    base = shading + detail * texture / texture.std()
    frames = []
    for index in range(num_frames):
        opening = 0.05 + 0.04 * np.sin(index)
        mouth = ((x - 0.5) / 0.18) ** 2 + ((y - 0.72) / opening) ** 2 < 1
        frames.append(np.where(mouth, base * 0.35, base)[..., None] * np.array([1.0, 0.8, 0.7]))
    return np.clip(np.stack(frames), 0, 255).round().astype(np.uint8)


def mask() -> np.ndarray:
    """(96, 96) float32: 1 in the lower middle."""
    out = np.zeros((SIZE, SIZE), np.float32)
    out[48:88, 20:76] = 1
    return out


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def face(num_frames: int = 40, seed: int = 0) -> np.ndarray:
    """(F, 468, 2) a fixed random shape with eyes 100 px apart that drifts evenly."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0, 200, (468, 2))
    shape[mesh.LEFT_EYE_OUTER], shape[mesh.RIGHT_EYE_OUTER] = (50, 80), (150, 80)
    return shape + np.arange(num_frames)[:, None, None] * np.array([0.5, -0.2])
