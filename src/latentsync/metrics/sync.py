"""Sync confidence, distance and offset from the embeddings of a judge network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

V2_MAX_SHIFT = 15
"""Frames searched on either side by the published protocol (31 shifts)."""
V2_FRAMES = 5
V2_STEPS = 20
"""One window of SyncNet-v2: 5 frames at 25 fps and the 20 cepstral columns (100 a second) beside them."""

Measure = Literal["euclidean", "cosine"]


@dataclass(frozen=True, slots=True)
class SyncScore:
    """What a judge network says about one clip.

    Attributes:
        sync_confidence: median − minimum of the distance curve (LSE-C for SyncNet-v2).
        sync_distance: minimum of the curve (LSE-D for SyncNet-v2).
        av_offset_frames: positive = the sound comes early and has to be delayed by that many frames.
        confidence_at_zero: median − value at shift 0: what the clip is worth as it stands, without moving the sound.
        curve: mean distance for each shift −max … +max of the sound; NaN = too few pairs.
        num_windows: positions averaged.
    """

    sync_confidence: float
    sync_distance: float
    av_offset_frames: int
    confidence_at_zero: float
    curve: tuple[float, ...]
    num_windows: int


def sync_score(
    video: np.ndarray,
    audio: np.ndarray,
    max_shift: int = V2_MAX_SHIFT,
    measure: Measure = "euclidean",
    pad_zeros: bool = True,
    lead: int = 0,
    known: np.ndarray | None = None,
    least_pairs: int = 1,
) -> SyncScore:
    """Compare each video window with the sound windows around it and average over time, shift by shift.

    Args:
        video: (P, D) embedding of the window starting at frame i.
        audio: (P', D) embedding of the sound beside frame i − lead.
        max_shift: frames on either side.
        measure: "euclidean" with 1e-6 added to each difference, as the published protocol; "cosine" = 1 − cosine
            similarity, for networks trained on it (ours, whose cosine is a probability).
        pad_zeros: past the ends the sound embedding is all zeros, as published, so every shift averages P values;
            False leaves those pairs out, which is fairer on clips of a few seconds.
        lead: sound windows before the first frame. Without any, the longer of video and audio is cut.
        known: (P',) bool: sound windows that count; None = all. Only where pairs are left out.
        least_pairs: a shift with fewer pairs than these says nothing (NaN in the curve).
    Raises: ValueError: no window, or no shift that says something.
    Source: Chung & Zisserman 2016 ("Out of time"); Prajwal et al. 2020 for the names LSE-C and LSE-D.
    """
    count = len(video) if lead else min(len(video), len(audio))
    if count == 0 or (not pad_zeros and not lead and count <= max_shift):
        raise ValueError(f"{count} windows are too few for a search of ±{max_shift} frames")
    video, audio = np.asarray(video[:count], dtype=np.float64), np.asarray(audio, dtype=np.float64)
    audio = audio if lead else audio[:count]
    there = np.ones(len(audio), dtype=bool) if known is None else np.asarray(known, dtype=bool)[: len(audio)]
    curve = []
    for shift in range(-max_shift, max_shift + 1):
        at = np.arange(count) + lead + shift
        inside = (at >= 0) & (at < len(audio))
        inside[inside] = there[at[inside]]
        other = np.where(inside[:, None], audio[at.clip(0, len(audio) - 1)], 0.0)
        used = np.ones(count, dtype=bool) if pad_zeros else inside
        enough = used.sum() >= max(least_pairs, 1)
        curve.append(float(_distance(video[used], other[used], measure).mean()) if enough else float("nan"))
    if not np.isfinite(curve).any():
        raise ValueError(f"no shift of ±{max_shift} frames has {least_pairs} pairs")
    best, median = int(np.nanargmin(curve)), float(np.nanmedian(curve))
    return SyncScore(
        sync_confidence=median - curve[best],
        sync_distance=curve[best],
        av_offset_frames=max_shift - best,
        confidence_at_zero=median - curve[max_shift],
        curve=tuple(curve),
        num_windows=count,
    )


def _distance(a: np.ndarray, b: np.ndarray, measure: Measure) -> np.ndarray:
    if measure == "euclidean":
        return np.sqrt(((a - b + 1e-6) ** 2).sum(axis=1))
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 1.0 - (a * b).sum(axis=1) / np.maximum(scale, 1e-8)


def num_v2_positions(num_frames: int, num_samples: int) -> int:
    """Positions of SyncNet-v2 in a clip: usable length min(frames, samples // 640), less 5; at least 0.

    Source: the published evaluation leaves the last full window out.
    """
    return max(0, min(num_frames, num_samples // 640) - V2_FRAMES)


def v2_video_windows(frames: np.ndarray, positions: range) -> np.ndarray:
    """Stack 5 frames from each position: (F, 224, 224, 3) uint8 BGR → (len, 3, 5, 224, 224) float32 in 0 … 255."""
    stacked = np.stack([frames[i : i + V2_FRAMES] for i in positions]).astype(np.float32)
    return np.ascontiguousarray(stacked.transpose(0, 4, 1, 2, 3))


def v2_audio_windows(cepstra: np.ndarray, positions: range) -> np.ndarray:
    """Cut 20 columns beside each position: (13, T) → (len, 1, 13, 20) float32; column 4·i is at frame i."""
    return np.stack([cepstra[None, :, 4 * i : 4 * i + V2_STEPS] for i in positions]).astype(np.float32)
