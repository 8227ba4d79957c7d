"""The task `syncnet`: does this mouth say this sound?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.metrics.lips import audible_opening
from latentsync.models.syncnet import SyncNet
from latentsync.training.datasets import (
    AnyClip,
    TrainingData,
    augment,
    draw_augmentation,
    long_enough,
    num_frames,
    open_data,
)
from latentsync.training.datasets.augment import NO_SOUND_CHANGE, Augmentation
from latentsync.training.datasets.features import changed_mel_of, latents_of, small_crops, syncnet_mel_of
from latentsync.training.engine.task import Objective, ValidationResult, rng_of
from latentsync.training.tasks.syncnet.health import Symptoms, probe_data, warnings_of
from latentsync.training.tasks.syncnet.objective import ContrastiveObjective, PairObjective
from latentsync.training.tasks.syncnet.pictures import history_picture, offset_histogram
from latentsync.training.tasks.syncnet.settings import SyncNetSettings, View, syncnet_settings, view_of
from latentsync.training.tasks.syncnet.validate import (
    MAX_SHIFT,
    ClipScore,
    Eyes,
    chosen,
    figures_of,
    offsets_of,
    score_clip,
)

CONFIG, TENSORS = "config.json", "model.safetensors"
PROBED_CLIPS, JUDGED_TRAIN_CLIPS = 40, 12


def build(
    settings: Mapping[str, Any], data: Sequence[Path], *, start: Path | None = None, seed: int = 0
) -> SyncNetTask:
    """The task from the `task:` section of a preset.

    Args:
        data: see `open_data`.
        start: weights to go on from: a component folder, or a released checkpoint (`stable_syncnet.pt`).
    Raises:
        ConfigError, LatentSyncError: a setting is wrong, or no usable clips. WeightsError: `start` doesn't fit.
    """
    return make_task(settings, open_data(list(data)), start, seed)


def make_task(settings: Mapping[str, Any], data: TrainingData, start: Path | None = None, seed: int = 0) -> SyncNetTask:
    """As `build`, of data that is open."""
    checked = syncnet_settings(settings)
    view = view_of(checked.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SyncNet.from_config(view.model)
    if start is not None:
        network.load_state_dict(_start_weights(start, view))
    return SyncNetTask(checked, view, network, data, _autoencoder(checked, view, seed), seed)


def _start_weights(start: Path, view: View) -> Mapping[str, Tensor]:
    from latentsync.models.weights import load_syncnet

    path = start
    if start.is_dir():
        given = json.loads((start / CONFIG).read_text("utf-8")) if (start / CONFIG).is_file() else None
        if given is None:
            raise WeightsError(f"{start}: no {CONFIG} in it. Give a SyncNet's folder, or a checkpoint")
        if (
            int(given.get("num_frames", view.num_frames)) != view.num_frames
            or given.get("input", "pixel") != view.input
        ):
            raise ConfigError("start", str(start), f"it is no {view.num_frames}-frame SyncNet on {view.input}s")
        path = start / TENSORS
    return load_syncnet(path, view.model).state_dict()


def _autoencoder(settings: SyncNetSettings, view: View, seed: int) -> Any:
    """The network that makes latents, None where SyncNet looks at pixels."""
    if view.input == "pixel":
        return None
    if settings.autoencoder is None:
        raise ConfigError("task.autoencoder", None, f"{settings.network} looks at latents: name an autoencoder")
    from latentsync.training.engine.components import Start, build_part

    network: Any = build_part("autoencoder", settings.autoencoder, Start(), seed)
    channels = int(view.model["visual_encoder"]["in_channels"]) // view.num_frames
    if network.latent_channels != channels:
        raise ConfigError("task.autoencoder", settings.autoencoder, f"give one with {channels} latent channels")
    return network.eval().requires_grad_(False)


class SyncNetTask:
    """See `Task`. An example is a pair (loss "bce") or a clip with several windows (loss "contrastive")."""

    name = "syncnet"
    score = ("val/accuracy", True)

    def __init__(
        self, settings: SyncNetSettings, view: View, network: SyncNet, data: TrainingData, autoencoder: Any, seed: int
    ) -> None:
        self.settings, self.view, self.seed, self.cache = settings, view, seed, data.cache
        self.fingerprint = data.fingerprint
        self._autoencoder = autoencoder
        least = self._least_frames()
        self.train = long_enough(data.train.only(_in_sync), least, settings.leave_out_short)
        self.val = long_enough(data.val.only(_in_sync), view.num_frames + MAX_SHIFT + 2, settings.leave_out_short)
        for mixture, what in ((self.train, "learn from"), (self.val, "be judged on")):
            if not len(mixture):
                raise ConfigError("data", None, f"no clip to {what} is marked as in sync; correct the clips first")
        self._openings: dict[int, np.ndarray] = {}
        self._numbers = {id(clip): number for number, clip in enumerate(self.train)}
        self.objective: PairObjective | ContrastiveObjective
        if settings.loss == "bce":
            self.objective = PairObjective(network)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + 1)
                self.objective = ContrastiveObjective(
                    network,
                    temperature=settings.temperature,
                    probability=settings.probability,
                    spacing=settings.spacing,
                    near=settings.near_sounds > 0,
                    lips=settings.lips,
                    other_clips=settings.other_clips,
                    num_frames=view.num_frames,
                )
        self.objectives: Sequence[Objective] = (self.objective,)
        self._history: dict[str, list[float]] = {"accuracy": [], "offset_accuracy": [], "loss": []}

    def _least_frames(self) -> int:
        if self.settings.loss == "bce":
            return 2 * self.view.num_frames  # docs/method.md#syncnet-training
        windows = self.settings.windows + self.settings.more_sounds
        return self.view.num_frames + (windows - 1) * self.settings.spacing + 2

    def example(self, number: int) -> dict[str, Tensor]:
        """See `PairObjective` and `ContrastiveObjective` for what an example holds (there with a batch axis)."""
        rng = rng_of(self.seed, number)
        clip = self.train.draw(rng)
        made = self._pair(clip, rng) if self.settings.loss == "bce" else self._windows(clip, rng)
        return {**made, "seed": torch.tensor(int(rng.integers(2**62)), dtype=torch.int64)}

    def _pair(self, clip: AnyClip, rng: np.random.Generator) -> dict[str, Tensor]:
        look, mel = draw_augmentation(rng, self.settings.look), self._changed_mel(clip, rng)
        starts = self.view.num_starts(num_frames(clip), mel.shape[1])
        at, right = int(rng.integers(starts)), bool(rng.random() < 0.5)
        shown, picture = clip, at
        if not right:
            shown, picture = self._wrong(clip, at, starts, rng)
        return {
            "frames": torch.from_numpy(self.pictures(shown, [picture], look)[0]),
            "mel": torch.from_numpy(self._cut(mel, [at])[0]),
            "label": torch.tensor(float(right)),
        }

    def _wrong(self, clip: AnyClip, at: int, starts: int, rng: np.random.Generator) -> tuple[AnyClip, int]:
        """Pictures that don't belong to the sound at `at`: a clip and a start."""
        kinds = self.settings.negatives
        weights = np.array([kinds.other_time, kinds.near, kinds.other_clip])
        kind = int(rng.choice(3, p=weights / weights.sum()))
        if kind == 2:
            for _ in range(20):
                other = self.train.draw(rng)
                if other is not clip:
                    count = self.view.num_starts(num_frames(other), self._mel(other).shape[1])
                    return other, int(rng.integers(count))
        if kind == 1:
            near = [s for s in range(at - kinds.near_frames, at + kinds.near_frames + 1) if 0 <= s < starts and s != at]
            return clip, int(near[int(rng.integers(len(near)))])
        return clip, int((at + rng.integers(1, starts)) % starts)

    def _windows(self, clip: AnyClip, rng: np.random.Generator) -> dict[str, Tensor]:
        look, mel = draw_augmentation(rng, self.settings.look), self._changed_mel(clip, rng)
        count, gap = self.settings.windows + self.settings.more_sounds, self.settings.spacing
        total = self.view.num_starts(num_frames(clip), mel.shape[1])
        free = total - (count - 1) * (gap - 1)
        starts = np.sort(rng.choice(free, count, replace=False)) + np.arange(count) * (gap - 1)
        starts = rng.permutation(starts)
        if self.settings.near_sounds:
            self._bring_near(starts, total, rng)
        return {
            "frames": torch.from_numpy(self.pictures(clip, starts[: self.settings.windows], look)),
            "mel": torch.from_numpy(self._cut(mel, starts)),
            "lips": torch.from_numpy(np.stack([self._lips(clip)[s : s + self.view.num_frames] for s in starts])),
            "start": torch.from_numpy(starts.astype(np.int64)),
            "clip": torch.tensor(self._numbers[id(clip)]),
        }

    def _bring_near(self, starts: np.ndarray, total: int, rng: np.random.Generator) -> None:
        """Put the last `near_sounds` of the starts beside picture windows, nearer than `spacing`."""
        near, reach = self.settings.near_sounds, max(1, self.settings.spacing - 1)
        beside = rng.choice(starts[: self.settings.windows], near)
        step = rng.integers(1, reach + 1, near) * rng.choice([-1, 1], near)
        step = np.where((beside + step < 0) | (beside + step >= total), -step, step)
        starts[-near:] = (beside + step).clip(0, total - 1)

    def _lips(self, clip: AnyClip) -> np.ndarray:
        """(F,) float32, see `audible_opening`."""
        number = self._numbers[id(clip)]
        if number not in self._openings:
            self._openings[number] = audible_opening(np.asarray(clip.mesh))
        return self._openings[number]

    def _mel(self, clip: AnyClip) -> np.ndarray:
        return syncnet_mel_of(clip, self.cache)

    def _changed_mel(self, clip: AnyClip, rng: np.random.Generator) -> np.ndarray:
        limits, variant = self.settings.sound, int(rng.integers(self.settings.sound_variants))
        if limits == NO_SOUND_CHANGE:
            return self._mel(clip)
        return changed_mel_of(clip, limits, variant, self.cache)

    def _cut(self, mel: np.ndarray, starts: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, 1, 80, T) float32."""
        columns = [self.view.column(int(start)) for start in starts]
        return np.stack([mel[None, :, c : c + self.view.columns] for c in columns]).astype(np.float32)

    def sounds(self, clip: AnyClip, starts: Sequence[int] | np.ndarray) -> np.ndarray:
        """Mel windows as they are: (n, 1, 80, T) float32."""
        return self._cut(self._mel(clip), starts)

    def pictures(
        self, clip: AnyClip, starts: Sequence[int] | np.ndarray, look: Augmentation | None = None
    ) -> np.ndarray:
        """Frames or latents of windows, frame-major on the channels.

        Returns: (n, 3·F, R/2 or R, R) uint8, or (n, c·F, h, w) float16, which no look changes.
        """
        first, last = int(min(starts)), int(max(starts)) + self.view.num_frames
        if self.view.input == "pixel":
            frames = np.asarray(small_crops(clip, self.view.resolution, self.cache)[first:last])
            frames = augment(frames, look or Augmentation(), self.view.lower_half).transpose(0, 3, 1, 2)
        else:
            frames = np.asarray(latents_of(clip, self._autoencoder, self.cache, self.view.resolution)[first:last])
        n, c, h, w = self.view.num_frames, *frames.shape[1:]
        return np.stack([frames[int(s) - first : int(s) - first + n].reshape(n * c, h, w) for s in starts])

    def _score(self, eyes: Eyes, clip: AnyClip) -> ClipScore:
        starts = self.view.num_starts(num_frames(clip), self._mel(clip).shape[1])
        return score_clip(eyes, clip, starts, self.settings.judged_every, self.pictures, self.sounds, self.seed)

    def validate(self, network: nn.Module) -> ValidationResult:
        """Accuracy, offsets and confidence on held-out people; why, where it is at chance."""
        if not isinstance(network, SyncNet):
            raise TypeError(f"{type(network).__name__}: not a SyncNet")
        eyes = Eyes(network, self.settings.judge_bf16)
        judged = chosen(self.val, self.settings.judged_clips)
        scores = {name: [self._score(eyes, clip) for clip in clips] for name, clips in judged.items()}
        figures = figures_of([score for own in scores.values() for score in own], "val")
        if len(scores) > 1:
            for name, own in scores.items():
                figures |= figures_of(own, f"val/{name}")
        for key, values in self._history.items():
            values.append(figures[f"val/{key}"])
        pictures = {
            "offsets": offset_histogram(offsets_of(scores), MAX_SHIFT),
            "history": history_picture(self._history),
        }
        return ValidationResult(figures=figures, warnings=self._look_into(eyes, figures, judged), pictures=pictures)

    def _look_into(self, eyes: Eyes, figures: Mapping[str, float], judged: Mapping[str, list[AnyClip]]) -> list[str]:
        symptoms = Symptoms(
            held_out=figures["val/accuracy"],
            offsets=figures["val/offset_accuracy"],
            trained_on=0.0,
            exchanged=0.0,
            pairs=self.objective.pairs_seen,
            people=len(self.train.people),
            clips=len(self.train),
        )
        if not warnings_of(symptoms, None):
            return []
        some = [clip for clips in chosen(self.train, PROBED_CLIPS).values() for clip in clips]
        trained = [clip for clips in chosen(self.train, JUDGED_TRAIN_CLIPS).values() for clip in clips]
        known = figures_of([self._score(eyes, clip) for clip in trained], "on")
        held_out = [clip for clips in judged.values() for clip in clips]
        symptoms = Symptoms(
            held_out=symptoms.held_out,
            offsets=symptoms.offsets,
            trained_on=known["on/accuracy"],
            exchanged=self._against_others(eyes, held_out),
            pairs=symptoms.pairs,
            people=symptoms.people,
            clips=symptoms.clips,
        )
        return warnings_of(symptoms, probe_data(some))

    def _against_others(self, eyes: Eyes, clips: Sequence[AnyClip]) -> float:
        """Balanced accuracy of right pairs against the sound of the next clip at the same time."""
        right, wrong = [], []
        for clip, other in zip(clips, [*clips[1:], *clips[:1]], strict=True):
            starts = min(self.view.num_starts(num_frames(c), self._mel(c).shape[1]) for c in (clip, other))
            at = range(0, starts, self.settings.judged_every)
            seen = eyes.embed("visual", self.pictures(clip, at))
            right.append((seen * eyes.embed("audio", self.sounds(clip, at))).sum(1))
            wrong.append((seen * eyes.embed("audio", self.sounds(other, at))).sum(1))
        return float(((np.concatenate(right) > 0.5).mean() + (np.concatenate(wrong) <= 0.5).mean()) / 2)

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json` (what it looks at, and its encoders) and `model.safetensors`: a judge for `evaluate`, the sync
        stage of `data build` and the sync loss of the U-Net."""
        from safetensors.torch import save_file

        if not isinstance(network, SyncNet):
            raise TypeError(f"{type(network).__name__}: not a SyncNet")
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "num_frames": self.view.num_frames,
            "input": self.view.input,
            "resolution": self.view.resolution,
            "lower_half": self.view.lower_half,
            "model": network.to_mapping(),
        }
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        with atomic_path(folder / TENSORS) as part:
            save_file(state, part, metadata={"format": "pt"})
        with atomic_path(folder / CONFIG) as part:
            part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _in_sync(clip: AnyClip) -> bool:
    return clip.in_sync
