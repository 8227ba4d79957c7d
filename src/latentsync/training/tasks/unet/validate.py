"""Is the U-Net learning to speak? Errors with the right and the wrong speech, generated clips, and what looks wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.config.options import SyncOptions
from latentsync.core.errors import LatentSyncError
from latentsync.core.values import Frame
from latentsync.diffusion.parameterization import clip_noise
from latentsync.faces import MeshTracker, inpaint_mask
from latentsync.faces.alignment import aligned_size
from latentsync.generation import sampler_for
from latentsync.generation.networks import Networks
from latentsync.generation.precision import choose_dtype
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.pose_warp import head_moves, smoothed
from latentsync.generation.tiny.references import STEADY, ChunkReferences, choose_references, reference_lips
from latentsync.media.pixels import RgbPicture
from latentsync.metrics.lips import lagged_correlation, lip_opening
from latentsync.metrics.strips import MOUTH_BOX, draw_strip
from latentsync.training.datasets import AnyClip, Mixture, num_frames
from latentsync.training.engine.task import ValidationResult
from latentsync.training.tasks.unet.objective import UNetObjective
from latentsync.training.tasks.unet.settings import UNetSettings

log = logging.getLogger(__name__)

GREY = 0.35
"""Below this share of the real region's distance from mid-grey the masked input itself is being drawn."""
DRIFT = 12.0
"""Levels of 255 by which a channel's mean may be off before an eye sees it as another light (a JND is 2 to 3)."""
FROZEN = 0.25
"""Share of the real mouth's movement below which a mouth counts as still."""
COPIED = 0.25
"""Share of the difference between two moments of the real mouth below which the reference is being copied."""
DROPPED = 0.01
"""Share by which wrong speech must be worse than the right one."""


class ValidatedTask(Protocol):
    """What a validation asks of the task, see `UNetTask`."""

    model: ModelSettings
    settings: UNetSettings
    audio_encoder: Any
    train: Mixture
    val: Mixture

    @property
    def objective(self) -> UNetObjective: ...

    def window(self, clip: AnyClip, start: int, other: int) -> dict[str, Tensor]: ...

    def crops(self, clip: AnyClip) -> np.ndarray: ...

    def meshes(self, clip: AnyClip) -> np.ndarray: ...

    def audio_features(self, clip: AnyClip, start: int, count: int) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One held-out clip with another clip's speech. (F, R, R, 3) float32 in [0, 1]: the clip, the result, the reference
    after encoding and decoding; and the mouths' opening over time where it was tracked."""

    real: np.ndarray
    made: np.ndarray
    reference: np.ndarray
    lips_r: float = float("nan")
    old_lips_r: float = float("nan")


@torch.no_grad()
def check(task: ValidatedTask, network: Any) -> ValidationResult:
    """Figures, warnings, a strip and a clip of a network. Deterministic."""
    device = next(network.parameters()).device
    pairs = chosen(task)
    with numbers(device), in_place(task, network):
        figures = one_step(task, pairs, device)
        driven = [drive(task, network, clip, other, device) for clip, other in pairs]
    health = measured(driven, inpaint_mask(task.model.resolution, task.model.mask))
    figures |= {f"val/{name}": value for name, value in health.items() if np.isfinite(value)}
    first = driven[0]
    side_by_side = np.concatenate([first.real, first.made], axis=2)
    return ValidationResult(
        figures=figures,
        warnings=warnings_of(figures),
        pictures={"mouths": strip(first)},
        clips={"driven": _bytes(side_by_side)},
    )


def chosen(task: ValidatedTask) -> list[tuple[AnyClip, AnyClip]]:
    """Held-out clips, as many people as possible first, each with another one whose speech is the wrong one.

    That is a held-out clip of somebody else, else another one of the same person; where a single clip is held out, one
    of training: with its own speech as the wrong one, no network would seem to listen.
    """
    people = [clips for source in task.val.sources for clips in source.by_person.values()]
    deepest = max(len(clips) for clips in people)
    clips = [mine[k] for k in range(deepest) for mine in people if k < len(mine)]
    picked = clips[: task.settings.check.clips]
    spare = list(task.train) if len(clips) == 1 else []
    pairs = []
    for index, clip in enumerate(picked):
        rest = [other for other in clips[index + 1 :] + clips[:index] if other is not clip] or spare
        strangers = [other for other in rest if other.person != clip.person]
        pairs.append((clip, (strangers or rest)[0]))
    return pairs


def one_step(task: ValidatedTask, pairs: list[tuple[AnyClip, AnyClip]], device: torch.device) -> dict[str, float]:
    """Squared error of the prediction in the generated region, with a clip's own and with the other one's speech."""
    objective, size = task.objective, task.model.num_frames
    region = 1 - objective.get_buffer("keep")
    errors: dict[str, list[float]] = {"own": [], "other": []}
    for index, (clip, other) in enumerate(pairs):
        total = num_frames(clip)
        start = max(0, total - size)
        batch: dict[str, Tensor] = task.window(clip, start, 0)
        batch = {key: value[None].to(device) for key, value in batch.items()} | {"seed": torch.tensor([index])}
        clean, fixed = objective.encode(batch)
        noise = clip_noise(batch["seed"], tuple(clean.shape[1:]), objective.alpha).to(clean)  # type: ignore[arg-type]
        wrong = task.audio_features(other, max(0, min(start, num_frames(other) - size)), size)[None].to(device)
        for share in task.settings.check.levels:
            level = objective.method.at(share).to(device)
            noisy, target = objective.method.noisy(clean, noise, level), objective.method.target(clean, noise)
            for name, audio_features in (("own", batch["audio_features"]), ("other", wrong)):
                made = objective.predict(noisy, fixed, level, audio_features).float()
                errors[name].append(float(((made - target).square() * region).mean() / region.mean()))
    own, wrong_error = float(np.mean(errors["own"])), float(np.mean(errors["other"]))
    listening = wrong_error / max(own, 1e-12) - 1
    return {"val/error_own": own, "val/error_other": wrong_error, "val/listening": listening}


def drive(task: ValidatedTask, network: Any, clip: AnyClip, other: AnyClip, device: torch.device) -> Driven:
    """Generate a clip's mouth from another clip's speech with the code of inference."""
    size, settings = task.model.num_frames, task.settings.check
    count = min(settings.chunks * size, num_frames(clip) // size * size, num_frames(other) // size * size)
    networks = Networks(network, task.objective.autoencoder, task.audio_encoder, device, torch.float32)
    sampler = sampler_for(networks, task.model, SyncOptions(steps=settings.steps, seed=1))
    real = np.asarray(task.crops(clip)[:count], np.float32) / np.float32(255)
    audio_features = task.audio_features(other, 0, count)
    references = _references(task, clip, real)
    parts = [slice(k, k + size) for k in range(0, count, size)]

    def generated(part: slice) -> np.ndarray:
        own = None if references is None else references.part(part)
        return sampler.finish(
            sampler.prepare(ChunkInputs(real[part], audio_features[part], range(part.start, part.stop), own))
        )

    made = np.concatenate([generated(part) for part in parts])
    still = None if references is None else references.pictures
    shown = real if still is None else still[:1]
    pixels = torch.from_numpy(shown).permute(0, 3, 1, 2).to(device) * 2 - 1
    back = torch.cat([task.objective.autoencoder.decode(task.objective.autoencoder.encode(x)) for x in pixels.split(8)])
    reference = (back.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    mask = inpaint_mask(task.model.resolution, task.model.mask)[..., None]
    result = Driven(real=real, made=made * mask + real * (1 - mask), reference=np.broadcast_to(reference, real.shape))
    return _tracked(result, clip, other, count) if settings.track_lips else result


def _references(task: ValidatedTask, clip: AnyClip, real: np.ndarray) -> ChunkReferences | None:
    """Reference frames of a clip, as the pipeline chooses them; None where every frame is its own."""
    tiny = task.model.tiny
    if tiny is None:
        return None
    meshes = task.meshes(clip)[: len(real)] if tiny.warp != "none" else np.asarray(clip.mesh[: len(real)])
    known, picks = np.flatnonzero(np.isfinite(meshes).all(axis=(1, 2))), [0]
    if len(known) and (tiny.num_references == 2 or tiny.warp == "lips"):
        picks = [int(known[k]) for k in choose_references(meshes[known])][: tiny.num_references]
    moves = None if tiny.warp == "none" else smoothed(head_moves(meshes, meshes[picks], real.shape[1]), STEADY)
    return ChunkReferences(
        real[picks], moves, reference_lips(meshes[picks], real[picks]) if tiny.warp == "lips" else None
    )


def _tracked(driven: Driven, clip: AnyClip, other: AnyClip, count: int) -> Driven:
    opening = _openings(driven.made)
    if opening is None:
        return driven
    wanted, old = (lip_opening(np.array(each.mesh[:count])) for each in (other, clip))
    return Driven(
        real=driven.real,
        made=driven.made,
        reference=driven.reference,
        lips_r=lagged_correlation(opening, wanted).best_r,
        old_lips_r=lagged_correlation(opening, old).best_r,
    )


def _openings(crops: np.ndarray) -> np.ndarray | None:
    """Opening of the mouths in crops, by the mesh; None where its files are not installed or no face is found."""
    try:
        tracker = MeshTracker(offline=True)
    except LatentSyncError as error:
        log.info("the generated mouths are not tracked: %s", error)
        return None
    width, height = aligned_size(256)  # faces as they are, not squeezed into the square crop
    meshes = np.full((len(crops), 468, 2), np.nan)
    with tracker.open() as session:
        for index, crop in enumerate(_bytes(crops)):
            picture = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
            framed = cv2.copyMakeBorder(picture, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
            for face in session.track(Frame(index, Fraction(index, 25), RgbPicture(framed)))[:1]:
                meshes[index] = face.landmarks
    return lip_opening(meshes) if np.isfinite(meshes).any() else None


def measured(driven: list[Driven], mask: np.ndarray) -> dict[str, float]:
    """What the warnings are made from, means over clips.

    `grey`, `movement`, `copied`: shares as the constants above say; `colour_drift`: levels of 255; `lips_r`,
    `old_lips_r`: correlation of the new mouth's opening with the speaker's and with the old one.
    """
    inside, mouth = mask > 0.5, inpaint_mask(len(mask), "mask3") > 0.5
    found: dict[str, list[float]] = {}
    for each in driven:
        made, real, reference = (x[:, mouth].astype(np.float64) for x in (each.made, each.real, each.reference))
        apart = np.abs(real - np.roll(real, len(real) // 2, axis=0)).mean()
        step = {
            "grey": np.abs(each.made[:, inside] - 0.5).mean() / max(np.abs(each.real[:, inside] - 0.5).mean(), 1e-6),
            "colour_drift": 255 * np.abs((each.made[:, inside] - each.real[:, inside]).mean((0, 1))).max(),
            "movement": made.std(0).mean() / max(real.std(0).mean(), 1e-6),
            "copied": np.abs(made - reference).mean() / max(apart, 1e-6),
            "lips_r": each.lips_r,
            "old_lips_r": each.old_lips_r,
        }
        for name, value in step.items():
            found.setdefault(name, []).append(float(value))
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan") for name, values in found.items()
    }


def warnings_of(figures: dict[str, float]) -> list[str]:
    """What looks wrong, and what would mend it."""
    out = []
    value = {name.removeprefix("val/"): number for name, number in figures.items()}
    if value["grey"] < GREY:
        out.append(
            "the mouth region is as grey as the masked input: the network repeats what it is shown. Train longer; if "
            "it stays so, check that the autoencoder is the one the U-Net was started with"
        )
    if value["colour_drift"] > DRIFT:
        out.append(
            f"the generated region differs in colour by {value['colour_drift']:.0f} of 255 levels. Train longer, or "
            "raise task.weights.perceptual; with few clips, lower loop.learning_rate"
        )
    if value["movement"] < FROZEN:
        out.append(
            f"the mouth hardly moves ({value['movement']:.0%} of the real movement). Check that the speech fits the "
            "pictures (latentsync data report), and raise task.weights.sync"
        )
    if value["copied"] < COPIED:
        out.append(
            "the mouth is that of the reference frame, whatever is said. Clips need other moments to take references "
            "from: longer clips, or a higher task.weights.sync"
        )
    if value["listening"] < DROPPED:
        out.append(
            f"wrong speech is only {value['listening']:.1%} worse than the right one: the network does not listen yet. "
            "Train longer; if it stays so, check the sound of the clips"
        )
    return out


def strip(driven: Driven, columns: int = 12) -> np.ndarray:
    """Source over result, `columns` moments of the mouth."""
    at = np.linspace(0, len(driven.real) - 1, min(columns, len(driven.real))).round().astype(int)
    scale = driven.real.shape[1] / 256
    x0, y0, x1, y1 = (round(edge * scale) for edge in MOUTH_BOX)
    before, after = (_bytes(x[at][:, y0:y1, x0:x1]) for x in (driven.real, driven.made))
    return draw_strip(list(before), list(after), [Fraction(int(k), 25) for k in at])


def numbers(device: torch.device) -> Any:
    """Autocast to the fastest safe format of the device, as in the pipeline."""
    dtype = choose_dtype(None, device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


@contextmanager
def in_place(task: ValidatedTask, network: Any) -> Iterator[None]:
    """The objective asks `network` in place of its own; both are in evaluation mode, undone afterwards."""
    objective = task.objective
    own, was_training = objective.network, network.training
    objective.network = network.eval()
    try:
        yield
    finally:
        objective.network = own
        network.train(was_training)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8)


__all__ = ["Driven", "check", "measured", "warnings_of"]
