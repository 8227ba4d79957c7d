"""Two recordings of the same words, laid over each other in time."""

from __future__ import annotations

import numpy as np

SLOPE_PENALTY = 0.3
"""Added to the distance of a step that holds one of the two: a pause is not stretched over a word (chosen by eye)."""


def time_warp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dynamic time warping: for each step of `a` the step of `b` that goes with it; both ends are tied.

    Args: a, b: (T, D) and (T', D) features, e.g. cepstra of mean 0 and spread 1.
    Returns: (T,) float steps of b, rising; the mean where several go with one.
    Raises: ValueError: one of them is empty.
    Source: Sakoe & Chiba 1978, symmetric steps (1, 1), (1, 0), (0, 1).
    """
    if not len(a) or not len(b):
        raise ValueError("nothing to lay over each other")
    distance = np.sqrt(((a[:, None] - b[None]) ** 2).mean(axis=2))
    penalty = SLOPE_PENALTY * float(np.median(distance))
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0.0
    for i in range(1, len(a) + 1):
        row, above = cost[i], cost[i - 1]
        best = np.minimum(above[:-1], above[1:] + penalty) + distance[i - 1]
        for j in range(1, len(b) + 1):
            row[j] = min(best[j - 1], row[j - 1] + penalty + distance[i - 1, j - 1])
    return _path(cost, penalty)


def _path(cost: np.ndarray, penalty: float) -> np.ndarray:
    i, j = cost.shape[0] - 1, cost.shape[1] - 1
    total, count = np.zeros(i), np.zeros(i)
    while i > 0 and j > 0:
        total[i - 1] += j - 1
        count[i - 1] += 1
        steps = (cost[i - 1, j - 1], cost[i - 1, j] + penalty, cost[i, j - 1] + penalty)
        which = int(np.argmin(steps))
        i, j = i - (which != 2), j - (which != 1)
    return total / np.maximum(count, 1)
