"""Judge networks for the sync stage: our SyncNet, and the public SyncNet-v2."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.data.clip import GRID_FPS, Clip
from latentsync.data.grid import grid_frames
from latentsync.data.sound import sound_span
from latentsync.data.stages.estimate import Estimate
from latentsync.data.stages.faces import load_geometry
from latentsync.data.workspace import Workspace
from latentsync.media.reader import VideoReader
from latentsync.metrics.judges import own_audio, own_columns, own_video, v2_crop_boxes, v2_sync_score
from latentsync.metrics.sync import SyncScore, sync_score

V2_SIDE_PX = 224
LEAD_FRAMES = GRID_FPS
LEAD_S = Fraction(LEAD_FRAMES, GRID_FPS)
"""Sound read before and after the clip: the longest search."""
KNOWN_SHARE = 0.95
MIN_PAIRS = 5
V2_OUTSIDE = 110
"""Fill beyond the picture in SyncNet-v2's crops (published)."""


class OwnJudge:
    """Our SyncNet on the clip's own aligned crops. The sound around the clip is heard too, where the source has it."""

    name = "own"
    min_confidence = 0.15
    correct_above = 0.25
    margin = 0.05

    def __init__(self, path: Path, max_offset_frames: int) -> None:
        """Args: `path`: a folder with config.json and model.safetensors, or a checkpoint of the released network.

        Raises: WeightsError, ConfigError: it is missing, damaged, or looks at latents.
        """
        from latentsync.models.weights import load_own_syncnet

        network, settings = load_own_syncnet(path)
        self._network = on_gpu(cast(Any, network))
        self._frames = int(settings["num_frames"])
        self._side, self._lower = int(settings.get("resolution", 256)), bool(settings.get("lower_half", True))
        self._max = max_offset_frames

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        with VideoReader(workspace.path(clip.files["crops"])) as reader:
            crops = [_sized(frame.picture.rgb(), self._side) for frame in reader]
        seen = self.see(np.stack(crops))
        count = round((Fraction(len(crops), GRID_FPS) + 2 * LEAD_S) * SPEECH_RATE_HZ)
        return self.compare(seen, *self.features_of_clip(*sound_span(clip, clip.start_s - LEAD_S, count)))

    def see(self, crops: np.ndarray) -> np.ndarray:
        """(F, R, R, 3) uint8 crops → (F − n + 1, D) unit vectors of the windows of n frames."""
        side = self._side
        crops = crops if crops.shape[1] == side else np.stack([_sized(crop, side) for crop in crops])
        return own_video(crops, _embedding(self._network.visual_encoder), self._frames, self._lower)

    def features_of_clip(self, wave: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sound from `LEAD_S` before the first frame to as long after the last → the audio features beside windows of
        frames: (P, D) unit vectors from frame −25 on, and (P,) bool: the source has that sound (0.95 of it)."""
        from latentsync.audio.mel import SYNCNET_HOP, SYNCNET_RATE_HZ, syncnet_mel

        mel = syncnet_mel(wave).numpy()
        width = -(-self._frames * SYNCNET_RATE_HZ // GRID_FPS)
        starts = own_columns(mel.shape[1], self._frames)
        spans = [known[SYNCNET_HOP * start : SYNCNET_HOP * (start + width)] for start in starts]
        there = np.array([span.mean() >= KNOWN_SHARE for span in spans], bool)
        return own_audio(mel, _embedding(self._network.audio_encoder), self._frames), there

    def compare(self, seen: np.ndarray, audio_features: np.ndarray, there: np.ndarray) -> Estimate:
        """The lag whose pairs are most alike, over the pairs whose sound is known; NaN where that is too little."""
        given = {"lead": LEAD_FRAMES, "known": there, "least_pairs": MIN_PAIRS}
        try:
            score = sync_score(seen, audio_features, self._max, "cosine", pad_zeros=False, **given)  # type: ignore[arg-type]
        except ValueError:
            return Estimate(0.0, float("nan"), float("nan"))
        if np.isfinite(score.curve).mean() < 0.5:
            return Estimate(0.0, float("nan"), float("nan"))
        return _estimate(score)


class V2Judge:
    """The public SyncNet-v2 on crops of its own, cut from the source around the mesh; 3 is the published limit."""

    name = "syncnet_v2"
    min_confidence = 3.0
    correct_above = 3.0
    margin = 0.0

    def __init__(self, path: Path) -> None:
        from latentsync.models.weights import load_syncnet_v2

        self._network = on_gpu(cast(Any, load_syncnet_v2(path)).eval().requires_grad_(False))
        self._device = next(self._network.parameters()).device

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        landmarks = load_geometry(workspace.path(clip.files["geometry"]))["landmarks"]
        boxes = v2_crop_boxes(np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1))
        frames = grid_frames(Path(clip.source.path), clip.start_s, clip.num_frames)
        crops = np.stack([_v2_crop(frame.picture.rgb(), boxes[frame.index]) for frame, _ in frames])
        wave, _ = sound_span(clip, clip.start_s, round(len(crops) * SPEECH_RATE_HZ / GRID_FPS))
        network, device = self._network, self._device
        return _estimate(
            v2_sync_score(
                crops, wave, lambda x: network.embed_lips(x.to(device)), lambda x: network.embed_audio(x.to(device))
            )
        )


def _estimate(score: SyncScore) -> Estimate:
    return Estimate(-score.av_offset_frames / GRID_FPS, score.sync_confidence, score.confidence_at_zero)


def on_gpu(network: Any) -> Any:
    """The network on the GPU that this worker was given, if any."""
    import torch

    return network.to("cuda") if torch.cuda.is_available() else network


def _embedding(encoder: Any) -> Callable[[Any], Any]:
    """The encoder with unit vectors as output.

    In bfloat16 where the processor multiplies it: docs/data.md has what that changes.
    """
    import torch

    from latentsync.generation.precision import cpu_multiplies_bfloat16

    device = next(encoder.parameters()).device
    fast = device.type == "cpu" and cpu_multiplies_bfloat16()

    def embed(batch: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            hidden = encoder(batch.to(device).contiguous(memory_format=torch.channels_last))
        return torch.nn.functional.normalize(hidden.float(), dim=1)

    return embed


def _sized(crop: np.ndarray, side: int) -> np.ndarray:
    return crop if crop.shape[0] == side else cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def _v2_crop(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box
    matrix = np.array([[V2_SIDE_PX / (x1 - x0), 0, 0], [0, V2_SIDE_PX / (y1 - y0), 0]])
    matrix[:, 2] = (-x0 * matrix[0, 0], -y0 * matrix[1, 1])
    size, fill = (V2_SIDE_PX, V2_SIDE_PX), (V2_OUTSIDE,) * 3
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.warpAffine(bgr, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
