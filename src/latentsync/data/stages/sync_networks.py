"""Judge networks for the sync stage: our SyncNet, and the public SyncNet-v2."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.data.clip import GRID_FPS, Clip
from latentsync.data.grid import grid_frames
from latentsync.data.sound import sound_span
from latentsync.data.stages.faces import load_geometry
from latentsync.data.stages.sync import Estimate
from latentsync.data.workspace import Workspace
from latentsync.media.audio import SPEECH_RATE_HZ
from latentsync.media.reader import VideoReader
from latentsync.metrics.judges import own_sync_score, v2_crop_boxes, v2_sync_score
from latentsync.metrics.sync import SyncScore

V2_SIDE_PX = 224
V2_OUTSIDE = 110
"""Fill beyond the picture in SyncNet-v2's crops (published)."""


class OwnJudge:
    """Our SyncNet on the clip's own aligned crops."""

    name = "own"
    min_confidence = 0.1
    correct_above = 0.1
    margin = 0.0

    def __init__(self, path: Path, max_offset_frames: int) -> None:
        """Args: `path`: a folder with config.json and model.safetensors, or a checkpoint of the released network.

        Raises: WeightsError, ConfigError: it is missing, damaged, or looks at latents.
        """
        from latentsync.models.weights import load_syncnet

        settings: dict[str, Any] = dict(load_preset("16_pixel_attn", "syncnet"))
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise WeightsError(f"{path}: no config.json in it. Give a SyncNet's folder, or a checkpoint.")
            settings = json.loads((path / "config.json").read_text("utf-8"))
        if settings.get("input", "pixel") != "pixel":
            raise ConfigError("sync.judge", str(path), "give a SyncNet that looks at pixels")
        model = settings.get("model") or {key: settings.get(key) for key in ("audio_encoder", "visual_encoder")}
        network = cast(Any, load_syncnet(path / "model.safetensors" if path.is_dir() else path, model))
        self._network = network.eval().requires_grad_(False)
        self._frames = int(settings.get("num_frames") or network.visual_config.in_channels // 3)
        self._side, self._lower = int(settings.get("resolution", 256)), bool(settings.get("lower_half", True))
        self._max = max_offset_frames

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        from latentsync.audio.mel import syncnet_mel

        with VideoReader(workspace.path(clip.files["crops"])) as reader:
            crops = np.stack([_sized(frame.picture.rgb(), self._side) for frame in reader])
        wave, _ = sound_span(Path(clip.source.path), clip.start_s, round(len(crops) * SPEECH_RATE_HZ / GRID_FPS))
        shifts = min(self._max, len(crops) - self._frames - 1)
        if shifts < 1:
            return Estimate(0.0, float("nan"), float("nan"))
        score = own_sync_score(
            crops,
            syncnet_mel(wave).numpy(),
            self._network.visual_encoder,
            self._network.audio_encoder,
            self._frames,
            shifts,
            lower_half=self._lower,
        )
        return _estimate(score)


class V2Judge:
    """The public SyncNet-v2 on crops of its own, cut from the source around the mesh; 3 is the published limit."""

    name = "syncnet_v2"
    min_confidence = 3.0
    correct_above = 3.0
    margin = 0.0

    def __init__(self, path: Path) -> None:
        from latentsync.models.weights import load_syncnet_v2

        self._network = cast(Any, load_syncnet_v2(path)).eval().requires_grad_(False)

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        landmarks = load_geometry(workspace.path(clip.files["geometry"]))["landmarks"]
        boxes = v2_crop_boxes(np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1))
        frames = grid_frames(Path(clip.source.path), clip.start_s, clip.num_frames)
        crops = np.stack([_v2_crop(frame.picture.rgb(), boxes[frame.index]) for frame, _ in frames])
        wave, _ = sound_span(Path(clip.source.path), clip.start_s, round(len(crops) * SPEECH_RATE_HZ / GRID_FPS))
        return _estimate(v2_sync_score(crops, wave, self._network.embed_lips, self._network.embed_audio))


def content_of(path: Path) -> str:
    """SHA-256 of a checkpoint file, or of the two files of a folder."""
    files = [path / "config.json", path / "model.safetensors"] if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise WeightsError(f"{file}: no such file. Give a SyncNet's checkpoint or folder.")
        with file.open("rb") as opened:
            for block in iter(lambda: opened.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()[:16]


def _estimate(score: SyncScore) -> Estimate:
    return Estimate(-score.av_offset_frames / GRID_FPS, score.sync_confidence, score.confidence_at_zero)


def _sized(crop: np.ndarray, side: int) -> np.ndarray:
    return crop if crop.shape[0] == side else cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def _v2_crop(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box
    matrix = np.array([[V2_SIDE_PX / (x1 - x0), 0, 0], [0, V2_SIDE_PX / (y1 - y0), 0]])
    matrix[:, 2] = (-x0 * matrix[0, 0], -y0 * matrix[1, 1])
    size, fill = (V2_SIDE_PX, V2_SIDE_PX), (V2_OUTSIDE,) * 3
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.warpAffine(bgr, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
