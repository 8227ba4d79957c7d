"""Averages over clips that say how sure they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean over clips and its bootstrap interval; `num` finite values, `num_groups` persons they come from."""

    mean: float
    low: float
    high: float
    num: int
    num_groups: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.num else "–"


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean and percentile bootstrap interval.

    Args:
        values: one score per clip; not-finite ones are left out and not counted.
        groups: person of each clip. Clips of one person are alike, so whole persons are drawn, not clips: without it
            the interval of 40 clips of 4 people would be far too narrow. With one group only, clips are drawn.
        level: coverage of the interval.
    Returns: NaN bounds for no value; equal bounds for one value.
    Source: Efron & Tibshirani 1993, percentile interval, cluster resampling.
    """
    array = np.asarray(values, dtype=np.float64)
    labels: list[Hashable] = list(range(len(array))) if groups is None else list(groups)
    if len(labels) != len(array):
        raise ValueError(f"{len(labels)} groups for {len(array)} values")
    known = np.isfinite(array)
    labels = [label for label, ok in zip(labels, known, strict=True) if ok]
    array = array[known]
    if not len(array):
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    names = list(dict.fromkeys(labels))
    index = {name: i for i, name in enumerate(names)}
    where = np.array([index[label] for label in labels]) if len(names) > 1 else np.arange(len(array))
    totals = np.bincount(where, weights=array)
    counts = np.bincount(where)
    draws = np.random.default_rng(seed).integers(0, len(counts), (num_resamples, len(counts)))
    means = totals[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(array.mean()), float(low), float(high), len(array), len(names))
