"""Judge networks from files that the user gives; every one is named in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from latentsync.core.errors import WeightsError
from latentsync.evaluation.scoring import Judge, Judges
from latentsync.evaluation.watching import GRID_HZ, Watched
from latentsync.media.reader import VideoReader
from latentsync.metrics import judges
from latentsync.metrics.frechet import FeatureNetwork
from latentsync.metrics.sync import SyncScore

if TYPE_CHECKING:
    from latentsync.models.syncnet import SyncNet
    from latentsync.models.syncnet_v2 import SyncNetV2

OUTSIDE_GREY = 110
"""Fill beyond the picture in SyncNet-v2's crops (published)."""
OWN_MAX_SHIFT = 10
"""Frames searched by our SyncNet: less than SyncNet-v2's 15, as its windows of 16 frames leave less of a short clip."""


def load_judges(
    own: Path | None = None, own_config: str | None = None, v2: Path | None = None, perceptual: Path | None = None
) -> Judges:
    """Judges from files; None leaves one out.

    Args:
        own: our SyncNet: a .safetensors or .pt file, or a folder with `model.safetensors` and `config.json`.
        own_config: its configuration (preset name or YAML file); None = the folder's, else the released one's.
        v2: `syncnet_v2.model`.
        perceptual: a TorchScript file, (B, 3, H, W) in [−1, 1] → list of feature maps.
    Raises: WeightsError, ConfigError: a file is missing, damaged or does not fit.
    """
    names = tuple(
        f"{speaker}: {path.name}"
        for speaker, path in (("own SyncNet", own), ("SyncNet-v2", v2), ("feature distance", perceptual))
        if path is not None
    )
    return Judges(
        own=None if own is None else own_judge(*load_own(own, own_config)),
        v2=None if v2 is None else v2_judge(v2),
        perceptual=None if perceptual is None else perceptual_judge(perceptual),
        names=names,
    )


def load_own(path: Path, config: str | None = None) -> tuple[SyncNet, dict[str, Any]]:
    """Our SyncNet and its settings; see `load_own_syncnet`."""
    from latentsync.models.weights import load_own_syncnet

    network, settings = load_own_syncnet(path, config)
    return cast("SyncNet", network), settings


def own_judge(network: SyncNet, settings: dict[str, Any]) -> Judge:
    """A judge from our SyncNet; the crops it sees are those of the table, resized to its `resolution` (256)."""
    from latentsync.audio.mel import syncnet_mel

    num_frames, resolution = int(settings["num_frames"]), int(settings.get("resolution", 256))
    lower_half = bool(settings.get("lower_half", True))

    def judge(watched: Watched, _: Path | None, wave: np.ndarray) -> SyncScore | None:
        crops = watched.crops[watched.grid_frames]
        if crops.shape[1] != resolution:
            size = (resolution, resolution)
            crops = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])
        mel = syncnet_mel(wave).numpy()
        if min(len(crops), mel.shape[1] * GRID_HZ // 80) < num_frames + OWN_MAX_SHIFT + 1:
            return None
        return judges.own_sync_score(
            crops,
            mel,
            network.visual_encoder,
            network.audio_encoder,
            num_frames,
            OWN_MAX_SHIFT,
            lower_half=lower_half,
        )

    return judge


def v2_judge(path: Path) -> Judge:
    """A judge from the public SyncNet-v2. It cuts its own crops from the file, around the mesh.

    The published protocol takes its boxes from another detector, so figures differ a little from published ones.
    """
    from latentsync.models.weights import load_syncnet_v2

    network = cast("SyncNetV2", load_syncnet_v2(path))
    network.requires_grad_(False)

    def judge(watched: Watched, video: Path | None, wave: np.ndarray) -> SyncScore | None:
        if video is None or not watched.seen.any():
            return None
        frames = v2_crops(video, watched)
        if len(frames) < 6 or len(wave) < 6 * 640:
            return None
        return judges.v2_sync_score(frames, wave, network.embed_lips, network.embed_audio)

    return judge


def v2_crops(video: Path, watched: Watched, side_px: int = 224) -> np.ndarray:
    """Crops by SyncNet-v2's rule at 25 fps: (G, side, side, 3) uint8, blue first; frames without a face take the box of
    the nearest one with a face."""
    seen = np.flatnonzero(watched.seen)
    boxes = np.array([[*watched.landmarks[i].min(axis=0), *watched.landmarks[i].max(axis=0)] for i in seen])
    nearest = np.abs(np.arange(len(watched))[:, None] - seen[None]).argmin(axis=1)
    crop_boxes = judges.v2_crop_boxes(boxes[nearest])
    crops = []
    with VideoReader(video) as reader:
        for index, frame in enumerate(reader):
            if index >= len(watched):
                break
            x0, y0, x1, y1 = crop_boxes[index]
            to_crop = np.array([[side_px / (x1 - x0), 0, 0], [0, side_px / (y1 - y0), 0]])
            to_crop[:, 2] = (-x0 * to_crop[0, 0], -y0 * to_crop[1, 1])
            crops.append(
                cv2.warpAffine(
                    frame.picture.rgb()[..., ::-1],
                    to_crop,
                    (side_px, side_px),
                    flags=cv2.INTER_AREA,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=(OUTSIDE_GREY,) * 3,
                )
            )
    return np.stack(crops)[watched.grid_frames]


def perceptual_judge(path: Path) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    """Feature distance with the layers of a TorchScript file; averaged over frames."""
    import torch

    from latentsync.metrics.perceptual import PerceptualNetwork, perceptual_distance

    module = _script(path)
    network = PerceptualNetwork(path.name, lambda x: list(module(x)))

    def distance(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
        weight = torch.from_numpy(np.asarray(region, np.float32))
        found = []
        with torch.inference_mode():
            for start in range(0, len(a), 8):
                x, y = (torch.from_numpy(z[start : start + 8]).permute(0, 3, 1, 2).float() / 127.5 - 1 for z in (a, b))
                found.append(perceptual_distance(network, x, y, weight))
        return float(torch.cat(found).mean())

    return distance


def feature_network(path: Path) -> FeatureNetwork:
    """A TorchScript file as the network of FID (pictures) or FVD (clips), see `FeatureNetwork`."""
    import torch

    module = _script(path)

    def features(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(batch, np.float32))).flatten(1).float().numpy()

    return FeatureNetwork(path.name, features)


def _script(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give a TorchScript file")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise WeightsError(f"{path}: not a TorchScript file. Give one that torch.jit.save wrote") from error
