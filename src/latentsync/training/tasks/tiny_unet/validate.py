"""Is a few-step model in time? Drive held-out people with other people's speech and compare the lips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from latentsync.core.values import Frame
from latentsync.faces import inpaint_mask
from latentsync.faces.protocol import FaceTracker
from latentsync.generation.tiny.residual import compose_residual
from latentsync.media.pixels import RgbPicture
from latentsync.metrics.lips import MIN_OVERLAP, correlation, lagged_correlation, lip_opening
from latentsync.models import UNet
from latentsync.training.datasets import AnyClip, Augmentation, num_frames
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.datasets.pieces import PIECE, draw_pieces
from latentsync.training.tasks.tiny_unet.data import STILL_FRAMES, augmented_references
from latentsync.training.tasks.tiny_unet.objective import FewStepObjective, assemble


@dataclass(frozen=True)
class Piece:
    """Frames start … start + count − 1 of a clip."""

    clip: AnyClip
    start: int
    count: int


@dataclass(frozen=True)
class Drive:
    """A clip whose person is driven, and another person's speech: parts of several sentences."""

    person: AnyClip
    speech: tuple[Piece, ...]


def drives_of(clips: Sequence[AnyClip], count: int, seed: int = 0) -> list[Drive]:
    """Pairs of different people, spread evenly over the clips."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        person = clips[(k * len(clips)) // count]
        others = sorted({clip.person for clip in clips} - {person.person})
        speaker = others[k % len(others)]
        donors = [clip for clip in clips if clip.person == speaker and num_frames(clip) >= PIECE[0]]
        drawn = draw_pieces([num_frames(donor) for donor in donors], num_frames(person), rng)
        out.append(Drive(person, tuple(Piece(donors[number], first, length) for number, first, length in drawn)))
    return out


@torch.no_grad()
def render(
    objective: FewStepObjective,
    network: nn.Module,
    crops: np.ndarray,
    references: np.ndarray,
    audio_features: Tensor,
    window: int,
    code: Tensor | None = None,
) -> np.ndarray:
    """Crops (F, R, R, 3) uint8 with new mouths, from pure noise in one step, pasted as the pipeline pastes.

    Args:
        references: (n, R, R, 3), or (F, n, R, R, 3) for each frame.
        audio_features: (F, K, D).
        code: (F, size) of the lips, to be drawn instead of what the lip predictor tells.
    """
    paste = inpaint_mask(256, objective.config.paste_mask)
    paste = cv2.GaussianBlur(cv2.erode(paste, np.ones((9, 9), np.uint8)), (0, 0), 4)[None, :, :, None]
    c, window_of = objective.autoencoder.latent_channels, objective.window
    shape = (1, c, 1, window_of.height, window_of.width)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows, columns = window_of.pixels(objective.autoencoder.factor)
    out: list[np.ndarray] = []
    for start in range(0, len(crops), window):
        first = max(0, min(start, len(crops) - window))
        span = slice(first, first + window)
        part = crops[span]
        batch = {
            "target": torch.from_numpy(part)[None],
            "references": torch.from_numpy(references[span] if references.ndim == 5 else references)[None],
        }
        with torch.autocast("cpu", torch.bfloat16):
            _, masked, still = objective.latents_of(batch)
            x = noise.expand(-1, -1, len(part), -1, -1)
            sample, predicted = assemble(x, objective.keep, masked, still), None if code is None else code[span][None]
            made = network(sample, torch.full((1,), 1000.0), audio_features[span][None].float(), code=predicted)
            if objective.config.residual:
                made = compose_residual(still.transpose(1, 2), made, c)
            made = made[0].transpose(0, 1)
            pixels = objective.decode(torch.lerp(masked[0], made.float(), objective.region))
        made_crops = part.astype(np.float32)
        made_crops[:, rows, columns] = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
        pasted = part * (1 - paste) + made_crops * paste
        out.append(np.rint(pasted).astype(np.uint8)[start - first :])
    return np.concatenate(out)


def references_of(
    crops: np.ndarray,
    opening: np.ndarray,
    objective: FewStepObjective,
    meshes: np.ndarray | None = None,
    code: Tensor | None = None,
) -> np.ndarray:
    """(n, R, R, 3): the most closed of the first frames, and the most open where the network takes one; for a network
    with posed references (F, n, R, R, 3), by the `meshes` (F, 468, 2) of all crops, and with lips where the `code`
    (F, size) says, if the network wants that."""
    if not np.isfinite(opening).any():
        opening = np.zeros(1)
    picks = [int(np.nanargmin(opening)), int(np.nanargmax(opening))][: 1 + objective.config.open_reference]
    if not objective.config.posed_references or meshes is None:
        return crops[picks]
    change = None
    if objective.config.shaped_references and code is not None:
        change = cast(UNet, objective.network).lip_predictor.lips_moved(code).detach().cpu().numpy()
    return augmented_references(crops[picks], meshes[picks], meshes, Augmentation(), change)


def opening_of(crops: np.ndarray, tracker: FaceTracker) -> np.ndarray:
    """(F,) lip opening of crops, NaN where no face is seen."""
    return lip_opening(meshes_of(crops, tracker))


def meshes_of(crops: np.ndarray, tracker: FaceTracker) -> np.ndarray:
    """(F, 468, 2) of crops (F, R, R, 3), NaN where no face is seen."""
    meshes = np.full((len(crops), 468, 2), np.nan, np.float32)
    with tracker.open() as session:
        for i, crop in enumerate(crops):
            wide = cv2.copyMakeBorder(crop, 96, 64, 80, 80, cv2.BORDER_REPLICATE)
            found = session.track(Frame(i, Fraction(i, 25), RgbPicture(np.ascontiguousarray(wide))))
            if found:
                meshes[i] = found[0].landmarks[:468]
    return meshes


def detail(crops: np.ndarray) -> float:
    """Mean gradient magnitude around the lips."""
    part = crops[:, 140:226, 74:182].astype(np.float32).mean(-1)
    return float(np.hypot(np.diff(part, axis=1)[:, :, 1:], np.diff(part, axis=2)[:, 1:]).mean())


def cross_drive(
    objective: FewStepObjective,
    network: nn.Module,
    drives: Sequence[Drive],
    hearing: ClipAudioFeatures,
    tracker: FaceTracker,
    window: int,
    own: dict[object, np.ndarray],
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Figures, a strip (source over result, four people) and the first result (F, R, R, 3).

    Figures: `r` (best of lags −2…2), `lag`, `chance` (r of the old mouth), `own` (r of the new mouth with the old one),
    `detail` (over the source's), `moves` (spread of the lip opening over that of the speaker's).
    """
    r: list[float] = []
    chance, lags, leak, sharp, moves = list(r), list(r), list(r), list(r), list(r)
    rows: list[np.ndarray] = []
    first: np.ndarray | None = None
    for k, drive in enumerate(drives):
        crops = np.ascontiguousarray(drive.person.crops[: num_frames(drive.person)])
        length = len(crops)
        for clip in {id(c): c for c in (drive.person, *(piece.clip for piece in drive.speech))}.values():
            if clip.path not in own:
                own[clip.path] = opening_of(np.ascontiguousarray(clip.crops), tracker)
        spans = [(piece.clip, slice(piece.start, piece.start + piece.count)) for piece in drive.speech]
        audio_features = torch.cat([hearing(clip)[span].float() for clip, span in spans])[:length]
        wanted = np.concatenate([own[clip.path][span] for clip, span in spans])[:length]
        old = own[drive.person.path][:length]
        begin = old[:STILL_FRAMES]
        predicted = (
            cast(UNet, network).lip_predictor.code(audio_features.flatten(1))
            if objective.config.shaped_references
            else None
        )
        made = render(
            objective,
            network,
            crops,
            references_of(crops, begin, objective, np.asarray(drive.person.mesh)[:length], predicted),
            audio_features,
            window,
        )
        curve = opening_of(made, tracker)
        found = lagged_correlation(curve, wanted)
        r.append(found.best_r)
        chance.append(lagged_correlation(old, wanted).best_r)
        lags.append(float(abs(found.best_lag)))
        leak.append(lagged_correlation(curve, old).best_r)
        sharp.append(detail(made) / detail(crops))
        moves.append(float(np.nanstd(curve) / max(float(np.nanstd(wanted)), 1e-6)))
        if k < 4:
            picks = np.linspace(0.25 * length, 0.75 * length, 10).astype(int)
            rows += [np.concatenate(list(pictures[picks][:, 96:240, 40:216]), axis=1) for pictures in (crops, made)]
        if first is None:
            first = made
    figures = {"r": r, "chance": chance, "own": leak, "detail": sharp, "moves": moves, "lag": lags}
    assert first is not None
    return {name: float(np.nanmean(v)) for name, v in figures.items()}, np.concatenate(rows), first


DRAWN = 2
"""Numbers of the code whose drawing is measured: opening and width."""


def drawn_as_predicted(
    objective: FewStepObjective,
    network: nn.Module,
    clips: Sequence[AnyClip],
    lips: LipParameterBasis,
    hearing: ClipAudioFeatures,
    tracker: FaceTracker,
    window: int,
) -> dict[str, float]:
    """Tell the network the real code of the lips of people it has not seen, and read the code off what it draws.

    Returns: `drawn_K`, mean correlation within a clip of number K as told and as drawn, and `strength_K`, the slope of
        the drawn over the told: 1 = lips move as far as they are reported to. Empty where no clip can be measured.
    """
    found: list[np.ndarray] = []
    numbers = min(DRAWN, len(lips.scale))
    for clip in clips:
        crops = np.ascontiguousarray(clip.crops[: num_frames(clip)])
        meshes = np.asarray(clip.mesh)[: len(crops)]
        opening = lip_opening(meshes)
        predicted = lips(clip) - lips(clip)[int(np.nanargmin(opening[:STILL_FRAMES]))]
        references = references_of(crops, opening[:STILL_FRAMES], objective, meshes, predicted)
        drawn = meshes_of(
            render(objective, network, crops, references, hearing(clip).float(), window, predicted), tracker
        )
        seen = np.isfinite(drawn[:, 0, 0])
        if seen.sum() < max(window, MIN_OVERLAP):
            continue
        a = lips.of(drawn[seen])[:, :numbers].double().numpy()
        b = predicted[torch.from_numpy(seen)][:, :numbers].double().numpy()
        b = b - b.mean(0)
        r = [correlation(a[:, k], b[:, k]) for k in range(numbers)]
        found.append(np.array([r, (a * b).sum(0) / np.maximum(np.square(b).sum(0), 1e-12)]))
    if not found:
        return {}
    r, strength = np.mean(found, axis=0)
    return {f"{name}_{k}": float(v[k]) for name, v in (("drawn", r), ("strength", strength)) for k in range(len(r))}
