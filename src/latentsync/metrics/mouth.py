"""The inside of open mouths against the same person's real ones: a Fréchet and a nearest-mouth distance of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from latentsync.faces import topology as mesh
from latentsync.metrics.frechet import frechet_distance
from latentsync.metrics.lips import lip_opening, lip_width

if TYPE_CHECKING:
    from torch import Tensor

MOUTH_PX = 64
SPAN = 0.7
"""Side of a mouth picture, in distances of the outer eye corners: the widest mouth and its lips lie inside."""
OPEN = 0.04
"""Least opening of a mouth that counts as open: about 4 px on an eye distance of 100 px (chosen by eye)."""
BLOCK = 6
"""Real open mouths are dealt in runs of so many to reference and floor: neighbours are alike."""
LEAST = 8
"""Fewest mouths on either side of a distance."""
VGG = Path(__file__).parents[1] / "assets" / "judges" / "vgg_two_stages.safetensors"
STAGES = 2

Features = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""((N, 64, 64, 3) uint8 pictures, (N, 64, 64) weights of the inside) → (N, D) float."""


@dataclass(frozen=True)
class Mouths:
    """Open mouths of one clip.

    Attributes:
        pictures: (N, 64, 64, 3) uint8 RGB, centred on the inner lips, the eye line level as in the crop.
        inside: (N, 64, 64) uint8, 1 between the inner lips and a pixel around.
        shapes: (N, 2) opening and width, in eye distances.
    """

    pictures: np.ndarray
    inside: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.shapes)


def open_mouths(crops: np.ndarray, landmarks: np.ndarray) -> Mouths:
    """Cut the open mouths out of aligned crops.

    Args:
        crops: (F, R, R, 3) uint8. landmarks: (F, 468, 2) mesh in crop pixels, of the very picture; NaN = no face.
    """
    opening, width = lip_opening(landmarks), lip_width(landmarks)
    found = [index for index in range(len(crops)) if opening[index] >= OPEN]
    pictures = np.zeros((len(found), MOUTH_PX, MOUTH_PX, 3), np.uint8)
    inside = np.zeros((len(found), MOUTH_PX, MOUTH_PX), np.uint8)
    for row, index in enumerate(found):
        points = np.asarray(landmarks[index], np.float64)
        inner = points[list(mesh.INNER_LIPS)]
        eyes = float(np.linalg.norm(points[mesh.RIGHT_EYE_OUTER] - points[mesh.LEFT_EYE_OUTER]))
        scale = MOUTH_PX / (SPAN * eyes)
        shift = MOUTH_PX / 2 - scale * inner.mean(axis=0)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        size = (MOUTH_PX, MOUTH_PX)
        pictures[row] = cv2.warpAffine(
            crops[index], matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        ring = np.rint(16 * (scale * inner + shift)).astype(np.int32)
        cv2.fillPoly(inside[row], [ring], 1, shift=4)
        inside[row] = cv2.dilate(inside[row], np.ones((3, 3), np.uint8))
    return Mouths(pictures, inside, np.stack([opening[found], width[found]], axis=1))


def vgg_features(path: Path = VGG) -> Features:
    """Mean over the inside of the channel-normalised features of VGG-16's first two stages: D = 192.

    Those of two stages tell green, dark, blurred and another person's mouths from real ones by larger factors of the
    floor than those of three and four do (docs/evaluation.md), and are 0.5 MB.

    Raises: WeightsError: the file is missing or damaged.
    """
    import torch
    from torch.nn import functional

    from latentsync.models.vgg import load_vgg

    network = load_vgg(path, STAGES).float().eval().requires_grad_(False)

    def pooled(maps: Tensor, inside: Tensor) -> Tensor:
        weight = functional.adaptive_avg_pool2d(inside, (maps.shape[-2], maps.shape[-1])) + 1e-6
        unit = maps * (maps.square().sum(1, keepdim=True) + 1e-10).rsqrt()
        return (unit * weight).sum((2, 3)) / weight.sum((2, 3))

    def features(pictures: np.ndarray, inside: np.ndarray) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(pictures), 32):
                x = torch.from_numpy(pictures[start : start + 32]).permute(0, 3, 1, 2).float() / 127.5 - 1
                weight = torch.from_numpy(inside[start : start + 32]).float()[:, None]
                rows.append(torch.cat([pooled(maps, weight) for maps in network(x)], dim=1).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, 192), np.float32)

    return features


@dataclass(frozen=True, slots=True)
class MouthDistance:
    """One person's mouths beside the real ones.

    Attributes:
        frechet: of the features. nearest: mean distance of the features to the real mouth of the nearest shape.
        frechet_floor, nearest_floor: the same of other real mouths of this person, as many.
        num: mouths on either side.
    """

    frechet: float
    nearest: float
    frechet_floor: float
    nearest_floor: float
    num: int


def mouth_distance(
    result: tuple[np.ndarray, np.ndarray], real: tuple[np.ndarray, np.ndarray], seed: int = 0
) -> MouthDistance | None:
    """Compare mouths with half of the real ones; the other half gives the floor.

    As many are taken on all sides, since a Fréchet distance of few is biased upwards: read it over its floor.

    Args: result, real: ((N, D) features, (N, 2) shapes) of all open mouths of one person.
    Returns: None where there are fewer than 8 of the result, or 16 real ones.
    """
    block = (np.arange(len(real[0])) // BLOCK) % 2
    reference, held = (tuple(part[block == half] for part in real) for half in (0, 1))
    count = min(len(reference[0]), len(held[0]), len(result[0]))
    if count < LEAST:
        return None
    rng = np.random.default_rng(seed)
    reference, held, chosen = (_some(part, count, rng) for part in (reference, held, result))
    return MouthDistance(
        frechet=frechet_distance(chosen[0], reference[0]),
        nearest=_nearest(chosen, reference),
        frechet_floor=frechet_distance(held[0], reference[0]),
        nearest_floor=_nearest(held, reference),
        num=count,
    )


def _some(part: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows = np.sort(rng.permutation(len(part[0]))[:count])
    return part[0][rows], part[1][rows]


def _nearest(mouths: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean feature distance to the reference whose opening and width are nearest."""
    apart = np.linalg.norm(mouths[1][:, None] - reference[1][None], axis=-1)
    twin = reference[0][apart.argmin(axis=1)]
    return float(np.linalg.norm(mouths[0] - twin, axis=1).mean())
