"""FID and FVD of a suite: features of results and of real clips, gathered case by case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from latentsync.evaluation.protocols import Protocol
from latentsync.metrics.frechet import FeatureNetwork, Frechet, frechet_distance, fvd_clip

Kind = Literal["FID", "FVD"]


@dataclass(frozen=True)
class Distribution:
    """A Fréchet distance between all results of one system in a protocol and the real clips."""

    name: Kind
    protocol: Protocol
    system: str
    frechet: Frechet


@dataclass(frozen=True)
class Collector:
    """Makes features of one kind.

    Attributes:
        kind: "FID": every `stride`-th crop as a picture; "FVD": 16 frames of each clip.
        network: what makes the features; its name goes into the result.
        side_px: crops are resized to this (299 for the usual FID network, 224 for the usual FVD one).
    """

    kind: Kind
    network: FeatureNetwork
    side_px: int
    stride: int = 5

    def features(self, crops: np.ndarray) -> np.ndarray | None:
        """(F, R, R, 3) uint8 crops → (N, D) features; None where there are too few frames."""
        if not len(crops) or (self.kind == "FVD" and len(crops) < 16):
            return None
        return np.asarray(self.network.features(self._batch(crops)), np.float32)

    def _batch(self, crops: np.ndarray) -> np.ndarray:
        picked = crops[:: self.stride] if self.kind == "FID" else crops
        size = (self.side_px, self.side_px)
        small = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in picked])
        if self.kind == "FVD":
            return fvd_clip(small)
        return np.ascontiguousarray(small.astype(np.float32).transpose(0, 3, 1, 2) / 255)


@dataclass
class Gathered:
    """Features by kind, protocol and system, as cases are done."""

    _parts: dict[tuple[Kind, Protocol, str], list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def add(self, kind: str, protocol: Protocol, system: str, result: np.ndarray, real: np.ndarray) -> None:
        """Take in one case: (N, D) features of the result and of its real clip."""
        self._parts.setdefault((kind, protocol, system), []).append((result, real))  # type: ignore[arg-type]

    def results(self, names: dict[str, str]) -> list[Distribution]:
        """Every distance of at least two samples on either side. Args: names: kind → name of its network."""
        found = []
        for (kind, protocol, system), parts in self._parts.items():
            a, b = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
            if min(len(a), len(b)) >= 2:
                distance = Frechet(frechet_distance(a, b), names[kind], len(a), len(b))
                found.append(Distribution(kind, protocol, system, distance))
        return found
