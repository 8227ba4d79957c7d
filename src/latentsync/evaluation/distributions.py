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
    """A Fréchet distance between all results of a protocol and the real clips."""

    name: Kind
    protocol: Protocol
    frechet: Frechet


@dataclass
class Collector:
    """Gathers features of one kind.

    Attributes:
        kind: "FID": every `stride`-th crop as a picture; "FVD": 16 frames of each clip.
        network: what makes the features; its name goes into the result.
        side_px: crops are resized to this (299 for the usual FID network, 224 for the usual FVD one).
    """

    kind: Kind
    network: FeatureNetwork
    side_px: int
    stride: int = 5
    _results: dict[Protocol, list[np.ndarray]] = field(default_factory=dict)
    _real: dict[Protocol, list[np.ndarray]] = field(default_factory=dict)

    def add(self, protocol: Protocol, result: np.ndarray, real: np.ndarray) -> None:
        """Take in one case: (F, R, R, 3) uint8 crops of the result and of its real clip."""
        for crops, kept in ((result, self._results), (real, self._real)):
            if self.kind == "FVD" and len(crops) < 16:
                return
            kept.setdefault(protocol, []).append(np.asarray(self.network.features(self._batch(crops))))

    def results(self) -> list[Distribution]:
        """The distances of all protocols with at least two samples on either side."""
        found = []
        for protocol, parts in self._results.items():
            a, b = np.concatenate(parts), np.concatenate(self._real[protocol])
            if min(len(a), len(b)) >= 2:
                distance = Frechet(frechet_distance(a, b), self.network.name, len(a), len(b))
                found.append(Distribution(self.kind, protocol, distance))
        return found

    def _batch(self, crops: np.ndarray) -> np.ndarray:
        picked = crops[:: self.stride] if self.kind == "FID" else crops
        size = (self.side_px, self.side_px)
        small = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in picked])
        if self.kind == "FVD":
            return fvd_clip(small)
        return np.ascontiguousarray(small.astype(np.float32).transpose(0, 3, 1, 2) / 255)
