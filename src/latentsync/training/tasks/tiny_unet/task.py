"""The few-step U-Net: `latentsync train unet --preset tiny` and `tiny_discriminator`. The objective is
`tiny_unet.objective`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.config import renamed
from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.faces import MeshTracker
from latentsync.generation.precision import cpu_multiplies_bfloat16
from latentsync.models import UNet
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.lip_predictor import LipPredictor
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.vgg import VGG_TAPS, load_vgg
from latentsync.models.weights import open_checkpoint
from latentsync.training.datasets import (
    ArrayCache,
    Mixture,
    SoundRange,
    TrainingData,
    content_of,
    long_enough,
    module_hash,
    open_data,
)
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.lip_parameters import LipParameterBasis, WarmUpConfig, teach
from latentsync.training.engine.components import build_part, build_unet, open_start
from latentsync.training.engine.task import Objective, ValidationResult
from latentsync.training.losses.discriminator import Discriminator
from latentsync.training.tasks.tiny_unet.data import Windows, augmentation_range
from latentsync.training.tasks.tiny_unet.lip_probe import NUMBERS, LipProbe, LipProbeConfig, teach_reader
from latentsync.training.tasks.tiny_unet.objective import (
    PERCEPTUAL_STAGES,
    DiscriminatorObjective,
    FewStepConfig,
    FewStepObjective,
    Generated,
)
from latentsync.training.tasks.tiny_unet.validate import cross_drive, drawn_as_predicted, drives_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FewStepSettings:
    """The `task:` section of the presets `tiny` and `tiny_discriminator`.

    Attributes:
        objective: "few_step"; what tells these settings from those of the released training.
        unet: architecture: a preset's name or the mapping itself; None = that of the start.
        num_frames: frames of a window.
        components: `autoencoder` (a small one) and `audio_encoder`: folders or model names; None = the start's.
        few_step: see `FewStepConfig`.
        look: see `AugmentationRange`.
        closed_still: share of examples whose references are the most closed and the most open mouth of 50 frames, as at
            run time, where the code of the lips is reported.
        wide: share of examples with the widest mouth of a few windows, see `few_step_data.Windows`.
        half_open: share of those with a closed still (`closed_still`) whose second reference is any mouth, not the most
            open one. around: share of examples with surroundings of another time. See there.
        missing: share of examples without an open reference, as of a film whose person keeps the mouth closed; photo:
            share of those whose other frames are one photo. See there.
        sounds: versions of each clip's sound, the first unchanged, the others changed within `SoundRange`.
        warm_up: see `lip_shape.WarmUpConfig`; done where a training starts from nothing, and where it is reported the
            code of the lips (`few_step.teacher_forcing`), which depends on the clips.
        lip_predictor: folder that the task `lip_predictor` wrote: its lip predictor is taken instead of a warm-up, and
            its code of the lips. Its audio_encoder belongs to it: give the folder as `components.audio_encoder`, too.
        reader: see `lip_reader.LipProbeConfig`; trained beforehand where `few_step.shape_weight` asks for one.
        features: file of a VGG-16 (recipes/tiny/vgg.py), for `few_step.perceptual_weight`.
        discriminator_learning_rate: times the generator's.
        drives: pairs of a held-out person and another one's speech in a validation.
    """

    objective: str = "few_step"
    unet: str | dict[str, Any] | None = "tiny"
    num_frames: int = 16
    components: dict[str, Any] = field(default_factory=dict)
    few_step: dict[str, Any] = field(default_factory=dict)
    look: dict[str, Any] = field(default_factory=dict)
    closed_still: float = 0.75
    wide: float = 0.0
    half_open: float = 0.0
    around: float = 0.0
    missing: float = 0.0
    photo: float = 0.0
    sounds: int = 3
    warm_up: dict[str, Any] = field(default_factory=dict)
    lip_predictor: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    features: str | None = None
    discriminator_learning_rate: float = 0.5
    drives: int = 8

    def __post_init__(self) -> None:
        for name in ("num_frames", "sounds", "drives"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}", getattr(self, name), "choose 1 or more")
        for name in ("closed_still", "wide", "half_open", "around", "missing", "photo"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ConfigError(f"task.{name}", share, "choose a share from 0 to 1")
        self._check_needs()
        self.reading()
        self.warming_up()

    def _check_needs(self) -> None:
        """Raises ConfigError: a share that would have no effect."""
        for name in ("wide", "half_open"):
            if getattr(self, name) > 0 and not self.few_step.get("teacher_forcing", 0) > 0:
                advice = (
                    "set task.few_step.teacher_forcing too: how far mouths are open is known from the code of the lips"
                )
                raise ConfigError(f"task.{name}", getattr(self, name), advice)
        if self.missing > 0 and not self.few_step.get("shaped_references", False):
            raise ConfigError("task.missing", self.missing, "set task.few_step.shaped_references too")
        if self.photo > 0 and not (self.missing > 0 and self.around > 0):
            raise ConfigError("task.photo", self.photo, "set task.missing and task.around too: it is a share of those")
        if self.missing > 0 and not self.few_step.get("open_reference", False):
            raise ConfigError("task.missing", self.missing, "set task.few_step.open_reference: a second reference")
        if self.half_open > 0 and not self.few_step.get("open_reference", False):
            raise ConfigError("task.half_open", self.half_open, "set task.few_step.open_reference: a second reference")

    def reading(self) -> LipProbeConfig:
        """How the reader of lips is trained. Raises ConfigError: `reader` cannot be that."""
        return checked(LipProbeConfig, self.reader, "task.reader")

    def warming_up(self) -> WarmUpConfig:
        """How the lip predictor is taught beforehand. Raises ConfigError: `warm_up` cannot be that."""
        return checked(WarmUpConfig, self.warm_up, "task.warm_up")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> FewStepSettings:
        """From a preset. Raises ConfigError on an unknown key."""
        return checked(cls, mapping, "task")


def build(
    settings: Mapping[str, Any],
    data: TrainingData | Sequence[Path],
    *,
    start: str | Path | None = None,
    seed: int = 0,
) -> FewStepTask:
    """The task of a preset. `start`: a model such as "tiny", or a U-Net component to go on from.

    Raises: ConfigError, WeightsError, LatentSyncError: settings, weights or clips that cannot be used.
    """
    data = data if isinstance(data, TrainingData) else open_data(data)
    wanted = FewStepSettings.from_mapping(settings)
    begin = open_start(start)
    parts = {
        part: build_part(part, wanted.components.get(part), begin, seed) for part in ("autoencoder", "audio_encoder")
    }
    for part, kind in (("autoencoder", TinyAutoencoder), ("audio_encoder", AudioEncoder)):
        if not isinstance(parts[part], kind):
            raise ConfigError(f"task.components.{part}", None, 'give the folder of one, or a model such as "tiny"')
    unet = build_unet(wanted.unet, begin, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = FewStepTask(
        unet,
        cast(TinyAutoencoder, parts["autoencoder"]),
        cast(AudioEncoder, parts["audio_encoder"]),
        wanted,
        data,
        seed,
    )
    if wanted.lip_predictor is not None:
        take_lip_predictor(unet, Path(wanted.lip_predictor).expanduser())
    elif hasattr(unet, "lip_predictor") and (start is None or task.lips is not None):
        warm_up(task, unet.lip_predictor, data, seed)
    return task


def take_lip_predictor(unet: UNet, folder: Path) -> None:
    """Give the U-Net the lip predictor that the task `lip_predictor` taught. Raises: WeightsError: it does not fit."""
    path = renamed.existing(folder / "lip_predictor.safetensors")
    taught = open_checkpoint(path).tensors
    own = {} if not hasattr(unet, "lip_predictor") else dict(unet.lip_predictor.named_parameters())
    for key, value in taught.items():
        if key not in own or own[key].shape != value.shape:
            has = tuple(own[key].shape) if key in own else "nothing"
            raise WeightsError(f"{path}: {key} is {tuple(value.shape)}, the U-Net has {has}. Set task.code, task.width")
    with torch.no_grad():
        for key, value in taught.items():
            own[key].copy_(value)


def set_motion(unet: UNet, lips: LipParameterBasis, needed: bool = True) -> None:
    """Put how lips move with the code into the U-Net, where it has a place for it.

    Raises: ConfigError: it has none, and `few_step.shaped_references` needs one.
    """
    motion = getattr(unet.lip_predictor, "motion", None) if hasattr(unet, "lip_predictor") else None
    if motion is None and not needed:
        return
    if motion is None or motion.shape != lips.motion.shape:
        points = lips.motion.shape[1] // 2
        raise ConfigError("task.few_step.shaped_references", True, f"set task.unet.audio_lip_points to {points}")
    motion.copy_(lips.motion)


def warm_up(task: FewStepTask, lip_predictor: LipPredictor, data: TrainingData, seed: int) -> None:
    """Teach the lip predictor the shape of lips, or take what was taught before from the same clips with the same
    settings."""
    settings = task.settings
    config = settings.warming_up()
    if config.steps < 1:
        return
    clips = [clip for clip in data.train if clip.in_sync]
    held_out = [clip for clip in data.val if clip.in_sync]

    def taught() -> nn.Module:
        lips = task.lips or LipParameterBasis(clips, lip_predictor.head.out_features)
        figures = teach(lip_predictor, clips, lips, task.hearing, settings.sounds, seed, config, held_out)
        log.info("warm-up of hearing: %s", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        return layers

    layers = nn.ModuleList([lip_predictor.linear_1, lip_predictor.linear_2, lip_predictor.head])
    known = "closed, opening kept", repr(config), task.hearing.model, str((seed, settings.sounds))
    made_from = (*known, *map(content_of, clips))
    remember("lip_predictor", layers, taught, made_from, data.cache)


def trained_reader(
    settings: FewStepSettings, autoencoder: TinyAutoencoder, data: TrainingData, lips: LipParameterBasis, seed: int
) -> LipProbe | None:
    """The reader of lips that the shape loss wants, trained now or taken from an earlier time."""
    if settings.few_step.get("shape_weight", 0) <= 0:
        return None
    config = settings.reading()
    reader = LipProbe(autoencoder.latent_channels, numbers=min(NUMBERS, len(lips.scale)))
    clips, look = list(data.train), augmentation_range(settings.look)

    def taught() -> nn.Module:
        figures = teach_reader(reader, clips, list(data.val), autoencoder, lips, look, seed, config)
        log.info("reader of lips: %s", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        return reader

    code = [str(float(values.double().sum())) for values in lips.tensors().values()]
    made_from = ("code", repr((config, look)), module_hash(autoencoder), str(seed), *code)
    made_from += tuple(f"{clip.person} {content_of(clip)}" for clip in clips)
    remember("lip-reader", reader, taught, made_from, data.cache)
    return reader


def remember(
    kind: str, module: nn.Module, taught: Callable[[], nn.Module], made_from: tuple[str, ...], cache: ArrayCache
) -> None:
    """Give `module` the weights that `taught` leaves in it, from the cache where they are known."""

    def make() -> np.ndarray:
        return torch.cat([p.detach().flatten() for p in taught().parameters()]).numpy()

    known = torch.from_numpy(np.array(cache.get(kind, made_from, make)))
    with torch.no_grad():
        for parameter in module.parameters():
            values, known = known[: parameter.numel()], known[parameter.numel() :]
            parameter.copy_(values.view(parameter.shape))


def lip_code(settings: FewStepSettings, clips: Mixture, size: int) -> LipParameterBasis:
    """That of the lip predictor where one is given, else learnt from the clips."""
    if settings.lip_predictor is None:
        return LipParameterBasis(clips, size)
    return LipParameterBasis.from_tensors(
        open_checkpoint(Path(settings.lip_predictor).expanduser() / "lips.safetensors").tensors
    )


class FewStepTask:
    """See `Task`. The second objective, where discriminators are asked for, is the discriminator."""

    name = "unet"
    score = ("val/cross_drive_r", True)

    def __init__(
        self,
        unet: UNet,
        autoencoder: TinyAutoencoder,
        audio_encoder: AudioEncoder,
        settings: FewStepSettings,
        data: TrainingData,
        seed: int,
    ) -> None:
        self.settings = settings
        config = FewStepConfig.from_mapping(settings.few_step)
        if config.teacher_forcing > 0 and not hasattr(unet, "lip_predictor"):
            advice = "set it to 0, or give the U-Net a lip predictor: task.unet.audio_code"
            raise ConfigError("task.few_step.teacher_forcing", config.teacher_forcing, advice)
        made = Generated()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            stages = VGG_TAPS[:PERCEPTUAL_STAGES] if config.perceptual_weight > 0 else ()
            discriminator = Discriminator(channels=stages) if config.discriminator_weight > 0 else None
        in_sync = data.train.only(lambda clip: clip.in_sync)
        self.lips: LipParameterBasis | None = None
        reader = None
        if config.teacher_forcing > 0 or config.shape_weight > 0:
            size = unet.lip_predictor.head.out_features if hasattr(unet, "lip_predictor") else NUMBERS
            lips = lip_code(settings, in_sync, size)
            self.lips = lips if config.teacher_forcing > 0 else None
            set_motion(unet, lips, config.shaped_references)
            reader = trained_reader(settings, autoencoder, data, lips, seed)
        features = None
        if config.perceptual_weight > 0 and settings.features is not None:
            features = load_vgg(Path(settings.features).expanduser(), PERCEPTUAL_STAGES).requires_grad_(False)
        objective = FewStepObjective(unet, autoencoder, config, discriminator, made, reader, features)
        self.objectives: list[Objective] = [objective]
        if discriminator is not None:
            judge = DiscriminatorObjective(discriminator, made)
            judge.learning_rate_scale = settings.discriminator_learning_rate
            self.objectives.append(judge)
        self.fast_bf16 = cpu_multiplies_bfloat16()
        self.hearing = ClipAudioFeatures(audio_encoder.eval().requires_grad_(False), data.cache, SoundRange())
        self.windows = Windows(
            data.train if self.lips is not None else in_sync,
            self.hearing,
            frames=settings.num_frames,
            seed=seed,
            look=augmentation_range(settings.look),
            sounds=settings.sounds,
            lips=self.lips,
            closed_still=settings.closed_still,
            open_reference=config.open_reference,
            posed=config.posed_references,
            wide=settings.wide,
            half_open=settings.half_open,
            around=settings.around,
            shaped=config.shaped_references,
            between=config.spread_weight > 0,
            missing=settings.missing,
            photo=settings.photo,
        )
        held_out = long_enough(data.val.only(lambda clip: clip.in_sync), settings.num_frames, leave_out_short=True)
        self.drives = drives_of(list(held_out), settings.drives)
        self._openings: dict[object, np.ndarray] = {}

    def example(self, number: int) -> dict[str, Tensor]:
        """See `Task`. Loader processes also encode, so that the training process need not."""
        example = self.windows.example(number)
        if torch.utils.data.get_worker_info() is not None:
            objective = cast(FewStepObjective, self.objectives[0])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast_bf16):
                target, masked, still = objective.latents_of({k: v[None] for k, v in example.items()})
            example.pop("surroundings", None)  # seen in the masked latents
            stills = still[0].unflatten(1, (example["references"].shape[-4], -1))
            if example["references"].dim() == 4:
                stills = stills[0]
            example |= {"target_latents": target[0].half(), "masked_latents": masked[0].half(),
                        "reference_latents": stills.half()}  # fmt: skip
        return example

    def validate(self, network: nn.Module) -> ValidationResult:
        """Cross-drive: r and lag of the lip openings, r with the video's own old mouth, detail over the real one's; and
        whether lips are drawn as told, where the code of the lips is reported."""
        objective = cast(FewStepObjective, self.objectives[0])
        figures, strip, clip = cross_drive(
            objective, network, self.drives, self.hearing, MeshTracker(), self.settings.num_frames, self._openings
        )
        if self.lips is not None:
            people = list({id(drive.person): drive.person for drive in self.drives}.values())
            window = self.settings.num_frames
            figures |= drawn_as_predicted(objective, network, people, self.lips, self.hearing, MeshTracker(), window)
        warnings = []
        if figures["moves"] < 0.25:
            warnings.append(
                f"the mouths hardly move ({figures['moves']:.2f} of the real ones): speech is not heard yet. "
                "If it stays so: more steps, a larger movement_weight, or clips that are not in sync"
            )
        if figures["own"] > 0.5:
            warnings.append("the video's own old mouth shows through: the reference or the edge of the mask tells it")
        return ValidationResult(
            figures={f"val/{'cross_drive_r' if name == 'r' else name}": value for name, value in figures.items()},
            warnings=warnings,
            pictures={"mouths": strip},
            clips={"driven": clip},
        )

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json` and `model.safetensors`, to be put together by recipes/tiny/assemble.py."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "config.json") as part:
            part.write_text(json.dumps(cast(Any, network).config.to_mapping(), indent=2) + "\n", "utf-8")
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as part:
            save_file(tensors, part, metadata={"format": "pt"})
