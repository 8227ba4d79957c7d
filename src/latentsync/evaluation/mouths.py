"""Inner-mouth scores of a suite: open mouths gathered case by case, compared person by person."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from latentsync.evaluation.protocols import Protocol
from latentsync.evaluation.watching import Watched
from latentsync.faces.alignment import transform
from latentsync.metrics.mouth import Features, MouthDistance, mouth_distance, open_mouths
from latentsync.metrics.statistics import Interval, bootstrap_mean

KIND = "mouth"
"""Name of these features among those that are kept."""


@dataclass(frozen=True)
class MouthLine:
    """One system in one protocol: means over people with intervals; the floors are those people's real mouths."""

    protocol: Protocol
    system: str
    frechet: Interval
    frechet_floor: Interval
    nearest: Interval
    nearest_floor: Interval

    @property
    def over_floor(self) -> float:
        """Fréchet distance over its floor: 1 = as near as real mouths are to each other."""
        return self.frechet.mean / self.frechet_floor.mean if self.frechet_floor.mean > 0 else float("nan")


def mouth_features(watched: Watched, features: Features) -> np.ndarray:
    """(N, D + 2) features and shapes of the open mouths of what was watched."""
    pairs = zip(watched.frame_to_crop, watched.landmarks, strict=True)
    points = np.stack([transform(matrix, landmarks) for matrix, landmarks in pairs])
    found = open_mouths(watched.crops, points)
    return np.concatenate([features(found.pictures, found.inside), found.shapes], axis=1).astype(np.float32)


@dataclass
class GatheredMouths:
    """Open mouths by protocol, system and person."""

    _result: dict[tuple[Protocol, str, str], list[np.ndarray]] = field(default_factory=dict)
    _real: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def add(
        self, protocol: Protocol, system: str, person: str, clip: str, result: np.ndarray, real: np.ndarray
    ) -> None:
        """Take in one case; see `mouth_features`."""
        self._result.setdefault((protocol, system, person), []).append(result)
        self._real.setdefault(person, {})[clip] = real

    def lines(self) -> list[MouthLine]:
        """Every system that has enough mouths of at least one person."""
        found: dict[tuple[Protocol, str], list[MouthDistance]] = {}
        for (protocol, system, person), parts in self._result.items():
            real = np.concatenate(list(self._real[person].values()))
            made = np.concatenate(parts)
            distance = mouth_distance((made[:, :-2], made[:, -2:]), (real[:, :-2], real[:, -2:]))
            if distance is not None:
                found.setdefault((protocol, system), []).append(distance)
        return [
            MouthLine(
                protocol,
                system,
                *(
                    bootstrap_mean([getattr(each, name) for each in distances])
                    for name in ("frechet", "frechet_floor", "nearest", "nearest_floor")
                ),
            )
            for (protocol, system), distances in found.items()
        ]
