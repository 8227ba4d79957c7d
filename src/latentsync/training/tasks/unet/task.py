"""The task `unet`: stage 1, stage 2 and their variants are presets of it, and so is a speaker's adapter."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.audio.windows import frame_windows, position_code
from latentsync.config import renamed
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.core.files import atomic_path
from latentsync.generation.conditioning import input_channels
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.residual import output_channels
from latentsync.metrics.lips import lip_opening
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import Autoencoder
from latentsync.models.lip_predictor import LipPredictor
from latentsync.training.datasets import (
    AnyClip,
    ArrayCache,
    Mixture,
    Source,
    TrainingData,
    long_enough,
    num_frames,
    open_data,
)
from latentsync.training.datasets.augment import Augmentation
from latentsync.training.datasets.features import small_crops, states_of, syncnet_mel_of
from latentsync.training.datasets.folder import folder_clips
from latentsync.training.datasets.seen import with_seen_mouths
from latentsync.training.engine.components import Start, build_part, build_sync_loss, build_unet, open_start
from latentsync.training.engine.task import Objective, ValidationResult, rng_of
from latentsync.training.losses.perceptual import EncoderFeatures, PerceptualLoss, load_lpips
from latentsync.training.losses.sync import SyncLoss, mel_columns
from latentsync.training.losses.trepa import TrepaLoss
from latentsync.training.losses.videomae import load_videomae
from latentsync.training.tasks.tiny_unet.data import augmented_references
from latentsync.training.tasks.unet.objective import UNetObjective
from latentsync.training.tasks.unet.settings import UNetSettings
from latentsync.training.tasks.unet.validate import check

log = logging.getLogger(__name__)
FPS = 25


def build(
    settings: Mapping[str, Any],
    data: TrainingData | Sequence[Path],
    *,
    start: str | Path | None = None,
    seed: int = 0,
) -> UNetTask:
    """The task of a preset.

    Args:
        settings: the `task:` section, see `UNetSettings`.
        data: clips, or where they lie; those shorter than three windows are left out (48 frames:
            docs/method.md#training-clips).
        start: a model ("tiny", "1.5", a model folder), a component folder, or a U-Net file: released, of stage 1, or
            Stable Diffusion 1.5. Its autoencoder and audio encoder are used where `settings` name none.
        seed: of everything drawn.
    Raises: ConfigError, WeightsError, LatentSyncError: settings, weights or clips that cannot be used.
    """
    wanted = UNetSettings.from_mapping(settings)
    begin = open_start(start)
    model = _model_settings(wanted, begin)
    unet = build_unet(wanted.unet, begin, seed)
    autoencoder = cast(Any, build_part("autoencoder", wanted.components.get("autoencoder"), begin, seed))
    audio_encoder = build_part("audio_encoder", wanted.components.get("audio_encoder"), begin, seed)
    for part, found in (("autoencoder", autoencoder), ("audio_encoder", audio_encoder)):
        if found is None:
            raise ConfigError(f"task.components.{part}", None, 'give a file, a folder, or a model such as "tiny"')
    _check_parts(unet, autoencoder, cast(AudioEncoder, audio_encoder), model)
    network: nn.Module = unet
    if wanted.adapter is not None:
        from latentsync.training.engine.adapters import add_adapter

        network = add_adapter(unet, wanted.adapter, seed)
    sync = build_sync_loss(wanted.components.get("syncnet"), seed)
    objective = UNetObjective(
        cast(Any, network),
        autoencoder,
        resolution=model.resolution,
        mask=model.mask,
        prediction=model.sampler.prediction,
        tiny=model.tiny,
        weights=wanted.weights,
        trainable=("lora_",) if wanted.adapter is not None else wanted.trainable,
        mixed_noise_alpha=wanted.mixed_noise_alpha,
        condition_dropout=wanted.condition_dropout,
        gradient_checkpointing=wanted.gradient_checkpointing,
        sync=sync,
        perceptual=_perceptual(wanted, autoencoder) if wanted.weights.perceptual > 0 else None,
        trepa=_trepa(wanted, sync) if wanted.weights.trepa > 0 else None,
    )
    clips = data if isinstance(data, TrainingData) else _opened(data, alone=wanted.adapter is not None)
    return UNetTask(objective, cast(AudioEncoder, audio_encoder), model, wanted, clips, seed, begin)


def _opened(folders: Sequence[Path], alone: bool) -> TrainingData:
    """The clips of some folders. `alone`: one speaker's, whatever split a build dealt them to; every tenth clip is held
    out, two at least (of two or three clips one), so that there is another's speech to compare with."""
    if not alone:
        return open_data(folders)
    clips = [clip for folder in folders for clip in folder_clips(Path(folder), None)]
    if len(clips) < 2:
        raise LatentSyncError(f"{folders[0]}: {len(clips)} clip of the speaker; give two or more: one is held out")
    held_out = set(range(len(clips) - 1, 0, -10)) | ({len(clips) // 2} if len(clips) >= 4 else set())
    train = tuple(clip for index, clip in enumerate(clips) if index not in held_out)
    val = tuple(clips[index] for index in sorted(held_out))
    sources = [Source("speaker", tuple(with_seen_mouths(part))) for part in (train, val)]
    if not all(source.clips for source in sources):
        raise LatentSyncError(f"{folders[0]}: the mouth is hidden throughout the clips to learn from or to judge by")
    return TrainingData(Mixture((sources[0],)), Mixture((sources[1],)), ArrayCache())


def _model_settings(wanted: UNetSettings, start: Start) -> ModelSettings:
    values = renamed.model_settings(start.settings)
    if wanted.resolution is not None:
        tiny = values.get("tiny")
        if tiny is not None and tiny.get("window") is not None:  # the same part of a crop of another size
            window = [edge * wanted.resolution // int(values["resolution"]) for edge in tiny["window"]]
            values["tiny"] = {**tiny, "window": window}
        values["resolution"] = wanted.resolution
    if "resolution" not in values:
        raise ConfigError(
            "task.resolution", None, "give a model to start from (--start MODEL), or the side of the crop: 256 or 512"
        )
    for key in ("num_frames", "mask", "position_code", "trailing_silence_s"):
        if getattr(wanted, key) is not None:
            values[key] = getattr(wanted, key)
    if wanted.prediction is not None:
        values |= {"prediction": wanted.prediction, "scheduler": "ddim" if wanted.prediction == "epsilon" else "flow"}
    return ModelSettings.from_index(values, start.name)


def _check_parts(unet: Any, autoencoder: Autoencoder, audio_encoder: AudioEncoder, model: ModelSettings) -> None:
    tiny, latent_channels = model.tiny, autoencoder.latent_channels
    channels = input_channels(latent_channels, 1 if tiny is None else tiny.num_references)
    answers = output_channels(latent_channels, tiny is not None and tiny.mixes_references)
    if unet.config.in_channels != channels or unet.config.out_channels not in answers:
        raise ConfigError(
            "task.unet",
            f"{unet.config.in_channels} → {unet.config.out_channels} channels",
            f"this autoencoder needs {channels} → {' or '.join(map(str, answers))}",
        )
    if unet.config.cross_attention_dim != audio_encoder.width:
        raise ConfigError(
            "task.unet.cross_attention_dim",
            unet.config.cross_attention_dim,
            f"the audio encoder gives {audio_encoder.width}",
        )


def _perceptual(wanted: UNetSettings, autoencoder: Any) -> PerceptualLoss:
    vgg, heads = (wanted.components.get(key) for key in ("vgg", "lpips"))
    if (vgg is None) != (heads is None):
        raise ConfigError("task.components.lpips", heads, "LPIPS needs both files: vgg and lpips")
    if vgg is not None:
        return load_lpips(Path(str(vgg)).expanduser(), Path(str(heads)).expanduser())
    log.info("no LPIPS files: the decoded lower half is compared in the autoencoder's own features")
    return PerceptualLoss("features of the autoencoder's encoder", EncoderFeatures(autoencoder))


def _trepa(wanted: UNetSettings, sync: SyncLoss | None) -> TrepaLoss | None:
    path = wanted.components.get("videomae")
    if path is not None:
        return TrepaLoss(load_videomae(Path(str(path)).expanduser()))
    if sync is not None:
        log.info("no VideoMAE file: clips are compared in our SyncNet's visual features")
    return None if sync is None or sync.facts.input != "pixel" else TrepaLoss(sync)


def _own_lip_predictor(network: nn.Module) -> LipPredictor:
    """A copy of the network's lip predictor that is not trained, for loader processes too. Raises: ConfigError: it has
    none."""
    for module in network.modules():
        if isinstance(module, LipPredictor) and hasattr(module, "motion"):
            return copy.deepcopy(module).cpu().float().requires_grad_(False)
    raise ConfigError("task.unet", None, "the model moves the lips of its references, this U-Net does not say how")


def _warp(model: ModelSettings) -> str:
    """How reference frames are fitted to each frame; "none" where every frame is its own."""
    return "none" if model.tiny is None else model.tiny.warp


class UNetTask:
    """See `Task`. `objectives[0].network` is the U-Net, or the U-Net with an adapter in it."""

    name = "unet"
    score = ("val/error_own", False)

    def __init__(
        self,
        objective: UNetObjective,
        audio_encoder: AudioEncoder,
        model: ModelSettings,
        settings: UNetSettings,
        data: TrainingData,
        seed: int,
        start: Start,
    ) -> None:
        self.objectives: list[Objective] = [objective]
        self.audio_encoder, self.model, self.settings = audio_encoder.eval().requires_grad_(False), model, settings
        self.seed, self.start, self.cache = seed, start, data.cache
        self.lip_predictor = _own_lip_predictor(objective.network) if _warp(model) == "lips" else None
        in_sync = data.train.only(lambda clip: clip.in_sync)
        self.train = long_enough(in_sync, 3 * model.num_frames, leave_out_short=True)
        self.val = long_enough(data.val, model.num_frames, leave_out_short=True)
        if dropped := len(data.train) - len(self.train):
            log.info("%d of %d clips are left out: out of sync, or under %d frames",
                     dropped, len(data.train), 3 * model.num_frames)  # fmt: skip

    @property
    def objective(self) -> UNetObjective:
        """The one objective."""
        return cast(UNetObjective, self.objectives[0])

    def example(self, number: int) -> dict[str, Tensor]:
        """See `Task`. The target window is uniform over the clip, the reference window anywhere without overlap.

        Source: docs/method.md#training-clips."""
        rng = rng_of(self.seed, number)
        clip = self.train.draw(rng)
        size, last = self.model.num_frames, self._last_start(clip)
        start = int(rng.integers(0, last + 1))
        others = reference_starts(start, size, num_frames(clip))
        other = int(others[int(rng.integers(len(others)))])
        return self.window(clip, start, other) | {"seed": torch.tensor(int(rng.integers(2**40)))}

    def window(self, clip: AnyClip, start: int, other: int) -> dict[str, Tensor]:
        """`target`, `reference` (F, 3, R, R) uint8, `audio_features` (F, K, D) float32, and `mel` (1, 80, W) if it is
        needed.

        The reference is frames `other` …, or that frame alone again and again for models with a still reference. Those
        with a second one also get `open` (1, 3, R, R): the most open mouth outside the window. Posed references are
        (F, 3, R, R), in the pose of each frame.
        """
        size = self.model.num_frames
        crops, window, audio_features = (
            self.crops(clip),
            slice(start, start + size),
            self.audio_features(clip, start, size),
        )
        opening = self._opening_outside(clip, window)
        tiny, warp = self.model.tiny, _warp(self.model)
        if warp == "lips":
            other = int(np.nanargmin(opening))  # what the lip predictor tells is the way from a closed mouth
        shown = range(other, other + size) if tiny is None else [other]
        references = [np.asarray(crops[list(shown)])]
        if tiny is not None and tiny.num_references == 2:
            shown = [other, int(np.nanargmax(opening))]
            references.append(np.asarray(crops[shown[1:]]))
        if warp != "none":
            meshes = self.meshes(clip)
            change = self._lips_moved(audio_features) if warp == "lips" else None
            turned = augmented_references(
                np.concatenate(references), meshes[list(shown)], meshes[window], Augmentation(), change
            )
            references = list(turned.swapaxes(0, 1))
        elif tiny is not None:
            references[0] = np.broadcast_to(references[0], (size, *references[0].shape[1:]))
        out = {"target": _channels_first(crops[window]), "audio_features": audio_features}
        out |= {name: _channels_first(frames) for name, frames in zip(("reference", "open"), references, strict=False)}
        if self.settings.weights.sync > 0:
            first, end = mel_columns(start, size)
            out["mel"] = torch.from_numpy(np.array(syncnet_mel_of(clip, self.cache)[None, :, first:end])).float()
        return out

    def _opening_outside(self, clip: AnyClip, window: slice) -> np.ndarray:
        """(F,) lip opening, NaN in the window and where it is not known; 0 everywhere else if it never is."""
        opening = np.asarray(lip_opening(np.asarray(clip.mesh[: num_frames(clip)])), np.float64)
        if not np.isfinite(np.delete(opening, np.r_[window])).any():
            opening = np.zeros_like(opening)
        opening[window] = np.nan
        return opening

    def _lips_moved(self, audio_features: Tensor) -> np.ndarray:
        """(F, 80) what the lip predictor of the start makes of (F, K, D), see `tiny.lip_warp`."""
        lip_predictor = cast(LipPredictor, self.lip_predictor)
        with torch.no_grad():
            return lip_predictor.lips_moved(
                lip_predictor.code(audio_features.flatten(1).to(lip_predictor.head.weight))
            ).numpy()

    def crops(self, clip: AnyClip) -> np.ndarray:
        """(F, R, R, 3) uint8 at the model's resolution. Raises: ConfigError: the clip was prepared smaller."""
        side = clip.crops.shape[1]
        if side < self.model.resolution:
            raise ConfigError(
                "task.resolution", self.model.resolution, f"{clip.path.name} has {side} px. Prepare larger crops"
            )
        return small_crops(clip, self.model.resolution, self.cache)

    def meshes(self, clip: AnyClip) -> np.ndarray:
        """(F, 468, 2) float32 in pixels of `crops`."""
        share = np.float32(self.model.resolution / clip.crops.shape[1])
        return np.asarray((np.asarray(clip.mesh) + 0.5) * share - 0.5, np.float32)

    def audio_features(self, clip: AnyClip, start: int, count: int) -> Tensor:
        """(count, K, D) float32: what frames start … start + count − 1 hear, as in the pipeline."""
        states = states_of(clip, self.audio_encoder, self.model.trailing_silence_s, self.cache)
        times = [Fraction(i, FPS) for i in range(start, start + count)]
        windows = frame_windows(torch.from_numpy(np.array(states)), times).float()
        return windows + position_code(*windows.shape[1:]) if self.model.position_code else windows

    def _last_start(self, clip: AnyClip) -> int:
        last = num_frames(clip) - self.model.num_frames
        if self.settings.weights.sync > 0:
            columns = syncnet_mel_of(clip, self.cache).shape[1]
            while last > 0 and mel_columns(last, self.model.num_frames)[1] > columns:
                last -= 1
        return last

    def validate(self, network: nn.Module) -> ValidationResult:
        """See `Task` and `unet_check`."""
        return check(self, cast(Any, network))

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json`, `model.safetensors` and `settings.json` (what the pipeline must know of it), or of a speaker's
        adapter `adapter.safetensors` alone."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        if self.settings.adapter is not None:
            from latentsync.training.engine.adapters import save_adapter

            save_adapter(cast(Any, network), folder / "adapter.safetensors", self.settings.adapter, self.start.name)
            return
        config = cast(Any, network).config.to_mapping()
        for name, content in (("config.json", config), ("settings.json", self.pipeline_settings())):
            with atomic_path(folder / name) as part:
                part.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as part:
            save_file(tensors, part, metadata={"format": "pt"})

    def pipeline_settings(self) -> dict[str, Any]:
        """Settings of a model folder with this U-Net in it."""
        own = {key: getattr(self.model, key) for key in ("resolution", "num_frames", "mask", "position_code")}
        sampler = self.model.sampler
        return {
            **renamed.model_settings(self.start.settings),
            **own,
            "trailing_silence_s": self.model.trailing_silence_s,
            "scheduler": sampler.kind,
            "prediction": sampler.prediction,
            "steps": sampler.steps,
            "guidance": sampler.guidance,
        }


def reference_starts(start: int, size: int, total: int) -> np.ndarray:
    """Every r in 0 … total − size with |r − start| ≥ size. At least one exists where total ≥ 3·size."""
    starts = np.arange(total - size + 1)
    return starts[np.abs(starts - start) >= size]


def _channels_first(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).contiguous()
