"""Judge networks from files that the user gives; every one is named in the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from latentsync.core.errors import WeightsError
from latentsync.core.hashing import file_sha256
from latentsync.evaluation.scoring import Distance, Judge, Judges, LipsJudge
from latentsync.evaluation.watching import GRID_HZ, Watched, on_grid
from latentsync.faces.alignment import transform
from latentsync.media.reader import VideoReader
from latentsync.metrics import judges
from latentsync.metrics.frechet import FeatureNetwork
from latentsync.metrics.lips import lip_opening, opening_about_mean
from latentsync.metrics.motion import align_similarity
from latentsync.metrics.mouth import vgg_features
from latentsync.metrics.sync import SyncScore
from latentsync.models.weights.judges import JUDGES, find_judge

if TYPE_CHECKING:
    from latentsync.data.stages.estimate import Estimate
    from latentsync.metrics.perceptual import PerceptualNetwork
    from latentsync.models.syncnet import SyncNet
    from latentsync.models.syncnet_v2 import SyncNetV2

OUTSIDE_GREY = 110
"""Fill beyond the picture in SyncNet-v2's crops (published)."""
LIPS_MAX_SHIFT = 15
"""Frames searched by the judge of the package, 0.6 s."""
OWN_MAX_SHIFT = 10
"""Frames searched by our SyncNet: less than SyncNet-v2's 15, as its windows of 16 frames leave less of a short clip."""


def load_judges(
    own: Path | None = None,
    own_config: str | None = None,
    v2: Path | None = None,
    perceptual: Path | None = None,
    face: Path | None = None,
    *,
    lips: bool = False,
    public: bool = False,
) -> Judges:
    """Judges from files; None leaves one out.

    Args:
        own: our SyncNet: a .safetensors or .pt file, or a folder with `model.safetensors` and `config.json`.
        own_config: its configuration (preset name or YAML file); None = the folder's, else the released one's.
        v2: `syncnet_v2.model`.
        perceptual: a TorchScript file, (B, 3, H, W) in [−1, 1] → list of feature maps.
        face: a face recogniser, see `face_judge`.
        lips: also what is part of the package: the lip judge, and the features of the inner mouth.
        public: where None is given, take what `latentsync models fetch` has brought, and say what is missing.
    Raises: WeightsError, ConfigError: a file is missing, damaged or does not fit.
    """
    missing: dict[str, str] = {}
    lpips = None
    if public:
        v2 = v2 or _public("syncnet-v2", missing)
        face = face or _public("sface", missing)
        vgg, heads = _public("vgg16", missing), _public("lpips", missing)
        if vgg is not None and heads is not None:
            lpips = lpips_judge(vgg, heads)
            missing.pop("LPIPS", None)
    files = {"own SyncNet": own, "SyncNet-v2": v2, "feature distance": perceptual, "face recogniser": face}
    names = [f"{role}: {path.name} ({_digest(path)})" for role, path in files.items() if path is not None]
    names += ["LPIPS v0.1 (VGG-16)"] if lpips is not None else []
    names += ["lip judge of this package"] if lips else []
    return Judges(
        own=None if own is None else own_judge(*load_own(own, own_config)),
        v2=None if v2 is None else v2_judge(v2),
        perceptual=None if perceptual is None else perceptual_judge(perceptual),
        lips=lip_judge() if lips else None,
        mouth=vgg_features() if lips else None,
        lpips=lpips,
        face=None if face is None else face_judge(face),
        missing=missing,
        names=tuple(names),
    )


def public_features(kind: str, given: Path | None, missing: dict[str, str]) -> Path | None:
    """The network of FID or FVD: the one that is given, else the public one that is here; `missing` takes the why."""
    return given or _public({"FID": "inception", "FVD": "i3d"}[kind], missing)


def _public(name: str, missing: dict[str, str]) -> Path | None:
    found = find_judge(name)
    if found is None:
        for score in JUDGES[name].scores:
            why = f"{JUDGES[name].path.name} is not here: latentsync models fetch {name}"
            missing[score] = f"{missing[score]}; {why}" if score in missing else why
    return found


def _digest(path: Path) -> str:
    """Eight digits that tell one file from another of the same name."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    return file_sha256(files[0])[:8] if len(files) == 1 else _together([file_sha256(each) for each in files])


def _together(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:8]


def lip_judge() -> LipsJudge:
    """The judge of the package: lip opening in the mesh against the one that the shipped audio encoder hears.

    Its audio encoder is that of `tiny`, so it says when a mouth is late, not which of two models is better: `tiny`
    draws what this encoder hears.
    """
    from latentsync.data.stages.lip_opening import LEAD_FRAMES, SAMPLES_PER_FRAME, LipOpeningJudge

    lips = LipOpeningJudge(LIPS_MAX_SHIFT)

    def judge(watched: Watched, wave: np.ndarray) -> Estimate | None:
        opening = crop_opening(watched)
        sound = np.zeros((len(opening) + 2 * LEAD_FRAMES) * SAMPLES_PER_FRAME, np.float32)
        known = np.zeros(len(sound), bool)
        first = LEAD_FRAMES * SAMPLES_PER_FRAME
        part = wave[: len(sound) - first]
        sound[first : first + len(part)], known[first : first + len(part)] = part, True
        found = lips.compare(opening, *lips.features_of_clip(sound, known))
        return found if np.isfinite(found.confidence) else None

    return judge


def crop_opening(watched: Watched) -> np.ndarray:
    """Lip opening in the aligned crop on the 25 Hz grid, as networks are taught it; NaN without a face."""
    pairs = zip(watched.frame_to_crop, watched.landmarks, strict=True)
    opening = lip_opening(np.stack([transform(matrix, landmarks) for matrix, landmarks in pairs]))
    return opening_about_mean(on_grid(watched.times_s, opening))


FACE_POINTS = ((33, 133), (362, 263), (1,), (61,), (291,))
"""Vertices whose means are the eyes, the tip of the nose and the corners of the mouth."""
FACE_PX = 112
FACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where those lie in the 112 px crop that face recognisers are trained on. Source: the published ArcFace alignment."""
FACE_EVERY = 5


def face_judge(path: Path) -> Callable[[Watched, Watched], float]:
    """Cosine similarity of a face recogniser, mean over every fifth frame (CSIM).

    Args: path: an ONNX file that takes (B, 3, 112, 112) RGB in 0 … 255, as SFace's, or a TorchScript file that takes it
        in [−1, 1], as ArcFace's; embeddings (B, D).
    Raises: WeightsError: the file is missing or is neither.
    """
    embed = _onnx_faces(path) if path.suffix.lower() == ".onnx" else _script_faces(path)

    def similarity(result: Watched, real: Watched) -> float:
        both = np.flatnonzero(result.seen & real.seen)[::FACE_EVERY]
        if not len(both):
            return float("nan")
        a, b = (embed(np.stack([_face_crop(clip, index) for index in both])) for clip in (result, real))
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return float((a * b).sum(axis=1).mean())

    return similarity


def _face_crop(watched: Watched, index: int) -> np.ndarray:
    points = transform(watched.frame_to_crop[index], watched.landmarks[index])
    marks = np.stack([points[list(group)].mean(axis=0) for group in FACE_POINTS])
    matrix, shift = align_similarity(marks, FACE_TEMPLATE)
    affine = np.concatenate([matrix, shift[:, None]], axis=1)
    return cv2.warpAffine(watched.crops[index], affine, (FACE_PX, FACE_PX), flags=cv2.INTER_LINEAR)


def _onnx_faces(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give an ONNX file")
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise WeightsError(f"{path}: not an ONNX file that OpenCV reads. Fetch it again") from error

    def embed(crops: np.ndarray) -> np.ndarray:
        found = []
        for crop in crops:  # published networks have a batch of one
            network.setInput(np.ascontiguousarray(crop.astype(np.float32).transpose(2, 0, 1)[None]))
            found.append(np.array(network.forward()).reshape(-1))
        return np.stack(found)

    return embed


def _script_faces(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    module = _script(path)

    def embed(crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1).flatten(1).float().numpy()

    return embed


def lpips_judge(vgg: Path, heads: Path) -> Distance:
    """LPIPS v0.1 from its two published files, mean over frames. Raises: WeightsError."""
    from latentsync.metrics.perceptual import PerceptualNetwork
    from latentsync.models.vgg import load_lpips_network

    network, weights = load_lpips_network(vgg, heads)
    return _distance(PerceptualNetwork("LPIPS v0.1 (VGG-16)", network.eval().requires_grad_(False), weights))


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


def perceptual_judge(path: Path) -> Distance:
    """Feature distance with the layers of a TorchScript file; averaged over frames."""
    from latentsync.metrics.perceptual import PerceptualNetwork

    module = _script(path)
    return _distance(PerceptualNetwork(path.name, lambda x: list(module(x))))


def _distance(network: PerceptualNetwork) -> Distance:
    import torch

    from latentsync.metrics.perceptual import perceptual_distance

    def distance(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
        weight = torch.from_numpy(np.asarray(region, np.float32))
        found = []
        with torch.inference_mode():
            for start in range(0, len(a), 8):
                x, y = (torch.from_numpy(z[start : start + 8]).permute(0, 3, 1, 2).float() / 127.5 - 1 for z in (a, b))
                found.append(perceptual_distance(network, x, y, weight))
        return float(torch.cat(found).mean())

    return distance


CALLS: dict[str, tuple[float, dict[str, bool]]] = {
    "inception-2015-12-05.pt": (255.0, {"return_features": True}),
    "i3d_torchscript.pt": (1.0, {"rescale": False, "resize": False, "return_features": True}),
}
"""Public file → its full scale, and how it is asked for features. Source: how FID and FVD are published with them."""


def feature_network(path: Path) -> FeatureNetwork:
    """A TorchScript file as the network of FID (pictures) or FVD (clips), see `FeatureNetwork`."""
    import torch

    module = _script(path)
    scale, options = CALLS.get(path.name, (1.0, {}))

    def features(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(batch, np.float32)) * scale
            return module(x, **options).flatten(1).float().numpy()

    return FeatureNetwork(f"{path.name} ({_digest(path)})", features)


def _script(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give a TorchScript file")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise WeightsError(f"{path}: not a TorchScript file. Give one that torch.jit.save wrote") from error
