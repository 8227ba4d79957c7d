"""How far the mouth is open and how wide it is over time, and how two such curves follow each other.

A curve is (F,) float, one value per frame, NaN where no face was seen; every function here leaves NaN frames out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.faces import topology as mesh

Curve = NDArray[np.float64]

JITTER = 0.007
"""What the face mesh's own trembling makes of an opening, eye distances: a third of `stillness`'s largest step. A mouth
that hardly opens in its own clip would else be called open by less than can be measured."""
MIN_OVERLAP = 8
"""Fewest common frames a correlation is computed from; below it is NaN (chosen by eye: r of fewer is mostly noise)."""


def lip_opening(landmarks: np.ndarray) -> Curve:
    """Gap between the inner lips over the distance of the outer eye corners.

    The mean of five upper/lower pairs, each measured along the face's own vertical (perpendicular to the eye line), so
    it does not change when the picture is rotated, scaled or shifted. It is signed: noise around a closed mouth
    averages to zero instead of looking like a small opening.

    Args:
        landmarks: (F, 468, 2) mesh in any pixel unit, y down; a frame without a face is NaN.
    Returns: (F,) float64; about 0 closed, 0.3 to 0.5 wide open.
    Raises: ValueError: wrong shape.
    """
    points = _checked(landmarks)
    upper, lower = (list(side) for side in zip(*mesh.INNER_LIP_PAIRS, strict=True))
    eyes = _eye_line(points)
    down = np.stack([-eyes[:, 1], eyes[:, 0]], axis=1)
    return _along(down, (points[:, lower] - points[:, upper]).mean(axis=1))


def lip_width(landmarks: np.ndarray) -> Curve:
    """Distance of the inner lip corners over the distance of the outer eye corners: small rounded, large spread.

    Measured along the face's own horizontal (the eye line), so it does not change when the picture is rotated, scaled
    or shifted, nor when one corner is higher than the other.

    Args:
        landmarks: (F, 468, 2) mesh in any pixel unit, y down; a frame without a face is NaN.
    Returns: (F,) float64; about 0.5, on three real clips 0.42 (rounded) to 0.66 (spread).
    Raises: ValueError: wrong shape.
    """
    points = _checked(landmarks)
    left, right = mesh.INNER_LIP_CORNERS
    return _along(_eye_line(points), points[:, right] - points[:, left])


def _checked(landmarks: np.ndarray) -> NDArray[np.float64]:
    """(F, N, 2) float64. Raises: ValueError: wrong shape."""
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1] < mesh.NUM_POINTS or points.shape[2] < 2:
        raise ValueError(f"landmarks: shape {points.shape}, expected (F, {mesh.NUM_POINTS}, 2)")
    return points[:, :, :2]


def _eye_line(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F, 2) from the left to the right outer eye corner."""
    return points[:, mesh.RIGHT_EYE_OUTER] - points[:, mesh.LEFT_EYE_OUTER]


def _along(axis: NDArray[np.float64], step: NDArray[np.float64]) -> Curve:
    """How far `step` goes in the direction of `axis`, over the axis's length; both (F, 2). NaN where that is 0."""
    length = np.hypot(axis[:, 0], axis[:, 1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 0, (step * axis).sum(axis=1) / length**2, np.nan)


def audible_opening(landmarks: np.ndarray) -> NDArray[np.float32]:
    """What networks are taught to read of a mouth: its opening about the clip's mean, cut off at ±4.

    Unit: a thirtieth of the distance of the outer eye corners; on studio clips its standard deviation is then about 1.

    Args: landmarks: (F, 468, 2) mesh in pixels of the aligned crop, whose sides are stretched.
    Returns: (F,) float32; frames without a face count as closed.
    """
    return opening_about_mean(np.nan_to_num(lip_opening(landmarks))).astype(np.float32)


def opening_about_mean(opening: np.ndarray) -> Curve:
    """(F,) opening in eye distances → as `audible_opening` gives it; NaN stays NaN and takes no part."""
    if not np.isfinite(opening).any():
        return np.full(len(opening), np.nan)
    return np.clip((opening - np.nanmean(opening)) * 30, -4, 4)


def smooth(curve: np.ndarray, sigma_frames: float) -> Curve:
    """Gaussian average without delay; NaN frames take no part and stay NaN. `sigma_frames` 0 changes nothing."""
    values = np.asarray(curve, dtype=np.float64)
    if sigma_frames <= 0:
        return values.copy()
    reach = max(1, int(np.ceil(3 * sigma_frames)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    return _weighted_average(values, kernel)


def detrend(curve: np.ndarray, window_frames: int | None = None) -> Curve:
    """Take away slow drift: the straight line of best fit, or (with a window, odd) the running mean."""
    values = np.asarray(curve, dtype=np.float64)
    if window_frames is not None:
        if window_frames < 3 or window_frames % 2 == 0:
            raise ValueError(f"window_frames={window_frames}: choose an odd number from 3")
        return values - _weighted_average(values, np.ones(window_frames))
    seen = np.isfinite(values)
    if seen.sum() < 2:
        return values - np.nanmean(values) if seen.any() else values.copy()
    times = np.arange(len(values), dtype=np.float64)
    slope, level = np.polyfit(times[seen], values[seen], 1)
    return values - (slope * times + level)


def _weighted_average(values: Curve, kernel: Curve) -> Curve:
    seen = np.isfinite(values)
    reach = len(kernel) // 2
    total = np.convolve(np.where(seen, values, 0.0), kernel)[reach : reach + len(values)]
    weight = np.convolve(seen.astype(np.float64), kernel)[reach : reach + len(values)]
    return np.where(seen, total / np.maximum(weight, 1e-12), np.nan)


def correlation(a: np.ndarray, b: np.ndarray, least: int = MIN_OVERLAP) -> float:
    """Pearson's r over the frames both curves have; NaN below `least` frames, 0 where one does not move."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < max(least, 1):
        return float("nan")
    x, y = (values[both].astype(np.float64) - values[both].mean(dtype=np.float64) for values in (a, b))
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 1e-12 else 0.0


@dataclass(frozen=True, slots=True)
class LaggedCorrelation:
    """The best correlation, its lag in frames (positive: `a` comes after `b`) and r at each lag −max … +max."""

    best_r: float
    best_lag: int
    curve: tuple[float, ...]


def lagged_correlation(
    a: np.ndarray, b: np.ndarray, max_lag: int = 2, *, lead: int = 0, stride: int = 1, least: int = MIN_OVERLAP
) -> LaggedCorrelation:
    """Correlate a[stride·t + lead + lag] with b[t] for each whole lag from −max_lag to max_lag.

    Equal maxima go to the smaller |lag|. All lags NaN (too short, no face) gives NaN and lag 0.

    Args:
        a, b: NaN = not known. Where `lead` is 0 and `stride` 1, the longer is cut at its end.
        lead: values of `a` before the moment of b[0]: what a search needs to be as long at every lag.
        stride: values of `a` for each of `b`, where `a` is sampled more often; lags count these.
        least: fewest common values of a correlation.
    """
    if max_lag < 0:
        raise ValueError(f"max_lag={max_lag}: choose 0 or more")
    if lead == 0 and stride == 1:
        a, b = a[: len(b)], b[: len(a)]
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    lags = range(-max_lag, max_lag + 1)
    curve = tuple(_at_lag(a, b, stride * np.arange(len(b)) + lead + lag, least) for lag in lags)
    known = [(r, -abs(lag), lag) for r, lag in zip(curve, lags, strict=True) if np.isfinite(r)]
    if not known:
        return LaggedCorrelation(float("nan"), 0, curve)
    best_r, _, best_lag = max(known)
    return LaggedCorrelation(best_r, best_lag, curve)


def _at_lag(a: Curve, b: Curve, at: NDArray[np.int64], least: int) -> float:
    inside = (at >= 0) & (at < len(a))
    return correlation(a[at[inside]], b[inside], least)


def closed_limit(opening: np.ndarray, share: float = 0.2) -> float:
    """Opening under which this mouth counts as closed: the 5th percentile plus `share` of the 5–95 % range, or plus
    `JITTER` where that is more.

    Relative to the clip, because the mesh of thick or thin lips rests at different gaps.
    """
    low, high = np.nanpercentile(opening, [5, 95])
    return float(low + max(share * (high - low), JITTER))


@dataclass(frozen=True, slots=True)
class ClosureRate:
    """Share of lip-closing sounds at which the lips met; `chance` is the same share at all other times of the clip."""

    rate: float
    chance: float
    num_sounds: int


def closure_rate(
    opening: np.ndarray, spans_s: Sequence[tuple[float, float]], fps: float, limit: float, slack_s: float = 0.04
) -> ClosureRate:
    """Of the p, b and m in `spans_s`, how many have at least one frame with the opening at or below `limit`.

    Args:
        opening: (F,) curve of the video, frame i at i / fps.
        spans_s: start and end of each lip-closing phone, seconds.
        limit: see `closed_limit`, or a fixed value.
        slack_s: the lips may meet this much before the start or after the end (one frame at 25 fps).
    Returns: NaN rates where no sound lies inside the seen frames. `chance`: windows of the mean length at every frame.
    """
    hits = [_closes(opening, start - slack_s, end + slack_s, fps, limit) for start, end in spans_s]
    known = [hit for hit in hits if hit is not None]
    if not known:
        return ClosureRate(float("nan"), float("nan"), 0)
    length_s = float(np.mean([end - start for start, end in spans_s])) + 2 * slack_s
    anywhere = [_closes(opening, i / fps, i / fps + length_s, fps, limit) for i in range(len(opening))]
    return ClosureRate(
        float(np.mean(known)), float(np.mean([hit for hit in anywhere if hit is not None])), num_sounds=len(known)
    )


@dataclass(frozen=True, slots=True)
class Closures:
    """Where lips meet, against where they should.

    Attributes:
        recall: share of the wanted spans in which the lips meet. precision: share of the closures at a wanted span.
        f1: their harmonic mean.
        null_recall, null_precision, null_f1: the same closures moved round the clip: what their number alone reaches.
        num_wanted, num_found: spans and closures.
    """

    recall: float
    precision: float
    f1: float
    null_recall: float
    null_precision: float
    null_f1: float
    num_wanted: int
    num_found: int


def closures(
    opening: np.ndarray,
    spans_s: Sequence[tuple[float, float]],
    fps: float,
    limit: float,
    silent: np.ndarray | None = None,
    slack_s: float = 0.04,
) -> Closures:
    """Recall and precision of lip closures, beside a null model that closes as often but anywhere.

    A closure is a run of frames with the opening at or below `limit`; runs that lie in silence wholly are none.

    Args:
        opening: (F,) curve, frame i at i / fps. spans_s: wanted closures, e.g. p, b and m.
        limit: see `closed_limit`. silent: (F,) bool, nobody speaks. slack_s: see `closure_rate`.
    Returns: NaN where there is nothing to count. The null model is the mean over circular shifts of 0.2 s and more.
    """
    values = np.asarray(opening, dtype=np.float64)
    shut: NDArray[np.bool_] = np.isfinite(values) & (values <= limit)
    quiet = _as_long(silent, len(values))
    wanted = np.zeros((len(spans_s), len(values)), bool)
    for row, (start_s, end_s) in zip(wanted, spans_s, strict=True):
        first, last = int(np.ceil((start_s - slack_s) * fps - 1e-6)), int(np.floor((end_s + slack_s) * fps + 1e-6))
        row[max(first, 0) : max(last + 1, 0)] = True
    wanted = wanted[wanted.any(axis=1)]
    real = _closure_shares(shut, wanted, quiet)
    least = max(1, round(0.2 * fps))
    moved = [_closure_shares(np.roll(shut, by), wanted, quiet) for by in range(least, len(values) - least)]
    null = np.array([each[:2] for each in moved]) if moved else np.full((1, 2), np.nan)
    known = np.isfinite(null)
    means = np.where(known.any(axis=0), np.where(known, null, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
    return Closures(*real[:2], _f1(*real[:2]), float(means[0]), float(means[1]), _f1(*means), len(wanted), int(real[2]))


def spans_shut(
    opening: np.ndarray, fps: float, limit: float, silent: np.ndarray | None = None
) -> list[tuple[float, float]]:
    """Start and end, seconds, of the closures of a mouth itself, those in silence left out: what another should do."""
    values: Curve = np.asarray(opening, dtype=np.float64)
    shut: NDArray[np.bool_] = np.isfinite(values) & (values <= limit)
    quiet = _as_long(silent, len(shut))
    return [(first / fps, (end - 1) / fps) for first, end in _runs(shut) if not quiet[first:end].all()]


def _as_long(silent: np.ndarray | None, length: int) -> np.ndarray:
    """(length,) bool: `silent` cut or filled with False."""
    out = np.zeros(length, bool)
    if silent is not None:
        part = np.asarray(silent, bool)[:length]
        out[: len(part)] = part
    return out


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _closure_shares(shut: np.ndarray, wanted: np.ndarray, quiet: np.ndarray) -> tuple[float, float, int]:
    """Recall, precision, and number of closures."""
    runs = [(first, end) for first, end in _runs(shut) if not quiet[first:end].all()]
    anywhere: NDArray[np.bool_] = np.zeros(len(shut), bool)
    if len(wanted):
        anywhere = np.asarray(wanted.any(axis=0))
    hits = [bool(anywhere[first:end].any()) for first, end in runs]
    recall = float(np.logical_and(wanted, shut).any(axis=1).mean()) if len(wanted) else float("nan")
    return recall, float(np.mean(hits)) if hits else float("nan"), len(runs)


def _f1(recall: float, precision: float) -> float:
    return float(2 * recall * precision / (recall + precision)) if recall + precision > 0 else float("nan")


def _closes(opening: np.ndarray, start_s: float, end_s: float, fps: float, limit: float) -> bool | None:
    first, last = int(np.ceil(start_s * fps - 1e-6)), int(np.floor(end_s * fps + 1e-6))
    if first >= len(opening):
        return None
    part = np.asarray(opening[max(first, 0) : max(last, first, 0) + 1], dtype=np.float64)
    part = part[np.isfinite(part)]
    return bool((part <= limit).any()) if len(part) else None


def stillness(
    opening: np.ndarray, silent: np.ndarray, limit: float, max_step: float = 0.02, settle_frames: int = 3
) -> float:
    """Share of silent frames in which the mouth is closed and does not move.

    Args:
        opening: (F,) curve.
        silent: (F,) bool, True where nobody speaks.
        limit: the opening at or below which the mouth is closed.
        max_step: largest change to the frame before, in the opening's unit (0.02 of the eye distance = 2 px on a 100 px
            eye distance, about three times the mesh's own jitter; chosen by eye on the demo clips).
        settle_frames: frames at the start of each silence that are left out: the mouth needs about 0.12 s to close.
    Returns: in [0, 1]; NaN without silent frames.
    """
    values = np.asarray(opening, dtype=np.float64)
    quiet = np.asarray(silent, dtype=bool)[: len(values)]
    values = values[: len(quiet)]
    counted = quiet.copy()
    for frames in range(1, settle_frames + 1):
        counted[frames:] &= quiet[:-frames]
        counted[: min(frames, len(counted))] &= quiet[0] if len(quiet) else False
    step = np.abs(np.diff(values, prepend=values[:1]))
    counted &= np.isfinite(values)
    if not counted.any():
        return float("nan")
    good = (values <= limit) & (np.nan_to_num(step, nan=0.0) <= max_step)
    return float(good[counted].mean())
