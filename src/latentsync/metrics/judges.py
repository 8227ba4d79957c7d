"""Run a judge network over a clip: SyncNet-v2's protocol and our SyncNet's, each from arrays to a `SyncScore`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from latentsync.metrics.mfcc import mfcc
from latentsync.metrics.sync import SyncScore, num_v2_positions, sync_score, v2_audio_windows, v2_video_windows

if TYPE_CHECKING:
    from torch import Tensor

Embed = Callable[["Tensor"], "Tensor"]
BATCH = 20
"""Windows a forward pass takes (published batch; has no influence on the result)."""


def v2_sync_score(frames_bgr: np.ndarray, wave: np.ndarray, embed_video: Embed, embed_audio: Embed) -> SyncScore:
    """LSE-C, LSE-D and offset of one face track by the public SyncNet-v2.

    Args:
        frames_bgr: (F, 224, 224, 3) uint8, blue first, at 25 fps: face crops by the published rule (`v2_crop_boxes`).
        wave: (S,) float32 in [−1, 1], 16 kHz, cut to the track.
        embed_video: (B, 3, 5, 224, 224) float32 in 0 … 255 → (B, 1024).
        embed_audio: (B, 1, 13, 20) float32 → (B, 1024).
    Raises: ValueError: the clip is shorter than one window.
    Source: the public SyncNet evaluation, as used for the released models.
    """
    count = num_v2_positions(len(frames_bgr), len(wave))
    if count < 1:
        raise ValueError(f"{len(frames_bgr)} frames and {len(wave)} samples are too short for SyncNet-v2 (0.24 s)")
    cepstra = mfcc(wave)
    video = _run(embed_video, (v2_video_windows(frames_bgr, part) for part in _parts(count)))
    audio = _run(embed_audio, (v2_audio_windows(cepstra, part) for part in _parts(count)))
    return sync_score(video, audio)


def v2_crop_boxes(boxes_xyxy: np.ndarray, smooth_frames: int = 13) -> np.ndarray:
    """Square crops of the published protocol from tight face boxes.

    Half side s = half of the longer box side; s and centre are medians over 13 frames; the crop spans cy − s …
    cy + 1.8·s and cx − 1.4·s … cx + 1.4·s (fill 110 outside the picture), to be resized to 224 × 224.

    Args:
        boxes_xyxy: (F, 4) face boxes of one track, pixels.
    Returns: (F, 4) float64 crop boxes, may reach outside the picture.
    Source: the public SyncNet evaluation's crop, step by step.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    half = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / 2
    values = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, half], axis=1)
    reach = smooth_frames // 2
    padded = np.pad(values, ((reach, reach), (0, 0)))  # zeros at the ends, as the published median filter
    x, y, s = np.median(np.lib.stride_tricks.sliding_window_view(padded, smooth_frames, axis=0), axis=-1).T
    return np.stack([x - 1.4 * s, y - s, x + 1.4 * s, y + 1.8 * s], axis=1)


def own_sync_score(
    crops: np.ndarray,
    mel: np.ndarray,
    embed_video: Embed,
    embed_audio: Embed,
    num_frames: int = 16,
    max_shift: int = 15,
    lower_half: bool = True,
) -> SyncScore:
    """Confidence, distance (1 − cosine) and offset of one aligned clip by our SyncNet.

    Args:
        crops, embed_video, num_frames, lower_half: see `own_video`.
        mel: (80, T) of the same time span, and embed_audio: see `own_audio`.
    Raises: ValueError: fewer windows than the search needs.
    """
    count = min(max(0, len(crops) - num_frames + 1), len(own_columns(mel.shape[1], num_frames)))
    if count <= max_shift:
        raise ValueError(f"{count} windows are too few for a search of ±{max_shift} frames")
    video = own_video(crops[: count + num_frames - 1], embed_video, num_frames, lower_half)
    audio = own_audio(mel, embed_audio, num_frames, count)
    return sync_score(video, audio, max_shift, "cosine", pad_zeros=False)


def own_video(crops: np.ndarray, embed: Embed, num_frames: int = 16, lower_half: bool = True) -> np.ndarray:
    """What our SyncNet sees in the windows that begin with each frame.

    Args:
        crops: (F, R, R, 3) uint8 RGB aligned faces at 25 fps, R as the network takes it.
        embed: (B, 3·num_frames, R/2 or R, R) float32 in [−1, 1], frame-major channels → (B, D).
        lower_half: rows R/2 … only, as networks on pixels take it.
    Returns: (F − num_frames + 1, D) float32; (0, 1) where there are no windows.
    """
    rows = slice(crops.shape[1] // 2, None) if lower_half else slice(None)

    def pictures(part: range) -> np.ndarray:
        cut = np.stack([crops[i : i + num_frames, rows] for i in part]).astype(np.float32) / 127.5 - 1.0
        return np.ascontiguousarray(cut.transpose(0, 1, 4, 2, 3)).reshape(len(part), -1, *cut.shape[2:4])

    return _run(embed, (pictures(part) for part in _parts(len(crops) - num_frames + 1)))


def own_audio(mel: np.ndarray, embed: Embed, num_frames: int = 16, most: int | None = None) -> np.ndarray:
    """What our SyncNet hears in the windows beside each frame.

    Args:
        mel: (80, T) `syncnet_mel`, 80 columns a second, beginning with the first frame.
        embed: (B, 1, 80, W) float32, W = ceil(num_frames·16/5) → (B, D).
        most: windows wanted; None = all that are whole.
    Returns: (P, D) float32; (0, 1) where there are no windows.
    """
    columns = own_columns(mel.shape[1], num_frames)[:most]
    width = -(-num_frames * 16 // 5)

    def sounds(part: range) -> np.ndarray:
        return np.stack([mel[None, :, columns[i] : columns[i] + width] for i in part]).astype(np.float32)

    return _run(embed, (sounds(part) for part in _parts(len(columns))))


def own_columns(num_columns: int, num_frames: int = 16) -> list[int]:
    """First mel column of the window beside each frame: floor(3.2·i), as long as the window is whole.

    Source: input layout and mel window (52 columns for 16 frames) of the released 16-frame SyncNet.
    """
    spare = num_columns + 16 * -num_frames // 5  # columns beside a whole window: T − ceil(16·F/5)
    return [16 * i // 5 for i in range(max(0, (5 * spare + 4) // 16 + 1))]


def _parts(count: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def _run(embed: Embed, batches: Iterator[np.ndarray]) -> np.ndarray:
    import torch

    with torch.inference_mode():
        parts = [embed(torch.from_numpy(batch)).float().cpu().numpy() for batch in batches]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
