"""Training examples of few-step models: windows of clips with one look each, a still reference, the audio features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.config.checked import checked
from latentsync.faces import topology as mesh
from latentsync.generation.tiny.borrowed_mouth import interiors, opened
from latentsync.generation.tiny.lip_warp import ReferenceLips, WarpField
from latentsync.generation.tiny.pose_warp import crop_terms, head_moves, places_in_frame, pose_warp, terms_at
from latentsync.generation.tiny.references import reference_lips
from latentsync.training.datasets import (
    AnyClip,
    Augmentation,
    AugmentationRange,
    Mixture,
    augment,
    draw_augmentation,
    long_enough,
    num_frames,
)
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.engine.task import rng_of

STILL_FRAMES = 50
"""At run time the references are the most closed and the most open mouth of so many frames."""


WIDE_OF = 4
"""Windows among which the one with the widest mouth is sought."""
OPEN_PX, GROWN_PX = 100, 9
"""Openings of at least so many pixels of 256 × 256 are grown by an ellipse of this diameter: the mesh's lips are some
pixels off the real ones, mostly too high."""
AROUND_OF = 6
"""Times in a clip among which the one with the head held most alike is sought."""

LENT = 0.75
"""Share of the examples without an open reference whose second one is the closed mouth opened with a lent inside; in
the others it is the closed one once more."""
TINT = 0.08
"""What is lent is so much lighter or darker, about, each colour by half of it more: how bright a stranger's teeth are
isn't known."""
HELD = 0.04
"""Farthest that a window's heads may be from a still's, mean of the still points, crop sides, to be laid onto it as a
photo."""


class Windows:
    """Examples by number.

    Example: `target` (F, R, R, 3) uint8, `references` (1 or 2, R, R, 3) uint8, or (F, 1 or 2, R, R, 3) in the pose of
    each frame, `audio_features` (F, K, D) float16, `seed` int64; `code` (F, n) float32, less that of the first
    reference, and `in_sync` where the code of the lips is known; `surroundings` (F, R, R, 3) uint8 where what is seen
    outside the mask may be of another time; `between` (F, R, R) uint8, 1 between the lips, where that is asked for.
    Nothing is heard of a clip that is not in sync.
    """

    def __init__(
        self,
        clips: Mixture,
        hearing: ClipAudioFeatures,
        *,
        frames: int,
        seed: int,
        look: AugmentationRange,
        sounds: int,
        lips: Lips | None = None,
        closed_still: float = 0.0,
        open_reference: bool = False,
        posed: bool = False,
        wide: float = 0.0,
        half_open: float = 0.0,
        around: float = 0.0,
        shaped: bool = False,
        between: bool = False,
        missing: float = 0.0,
        photo: float = 0.0,
    ) -> None:
        """Clips must be longer than a window, so that a reference outside of it is there; others are left out.

        Args:
            sounds: versions of each sound, the first unchanged.
            lips: code (F, n) of the lips of a clip, or of its mirror image; examples then hold it as `code`.
            closed_still: share of examples whose references are the most closed and the most open mouth of
                `STILL_FRAMES` frames, as at run time; in the others they are any two of them. Needs `lips`.
            open_reference: two references.
            posed: each frame has its own, turned as its head is (`tiny.pose_warp`).
            shaped: and their lips are where the code says (`tiny.lip_warp`). Needs `posed` and `lips`.
            wide: share of examples whose window is the one of `WIDE_OF` in which the mouth opens most: wide mouths are
                rare, and what was hardly seen gets the wrong colours. Needs `lips`.
            half_open: share of those examples whose second reference is any mouth of the 50 instead of the most open.
                Who hardly opens the mouth in a film's first two seconds has to be drawn wider than in any reference;
                with the most open one always at hand, mixing the two is enough, and that is all that is learnt.
            around: share of examples that see the head, outside the mask, at another time of the clip. The chin tells
                how far the mouth was open: at run time that is the old one.
            between: tell what lies between the lips.
            missing: share of examples without an open reference, as of a film whose person keeps the mouth closed, see
                `LENT`. Needs `shaped` and `open_reference`.
            photo: share of those in which all frames are the one still picture outside the mask, and the wanted mouth
                is laid onto it, as a photo's.
        Raises: LatentSyncError: no clip is long enough.
        """
        self.clips = long_enough(clips, frames + 1, leave_out_short=True)
        self.hearing, self.frames, self.seed, self.look, self.sounds = hearing, frames, seed, look, sounds
        self.lips, self.closed_still, self.open_reference, self.wide = lips, closed_still, open_reference, wide
        self.posed, self.half_open, self.around, self.shaped = posed, half_open, around, shaped
        self.between, self.missing, self.photo = between, missing, photo

    def example(self, number: int) -> dict[str, Tensor]:
        """See `Task.example`."""
        rng = rng_of(self.seed, number)
        clip = self.clips.draw(rng)
        audio_features = self.hearing(clip, int(rng.integers(self.sounds)))
        if not clip.in_sync:
            audio_features = torch.zeros_like(audio_features)
        total = min(num_frames(clip), len(audio_features))
        start = self._start(rng, clip, total)
        is_missing = self.missing > 0 and rng.random() < self.missing
        stills = self._closed(rng, clip, start, total) if is_missing else self._stills(rng, clip, start, total)
        window = slice(start, start + self.frames)
        photo = is_missing and rng.random() < self.photo and _held_alike(clip, window, stills[0])
        look = draw_augmentation(rng, self.look)
        crops, meshes = np.asarray(clip.crops[window]), np.asarray(clip.mesh[window], np.float32)
        if photo:
            crops, meshes = laid_onto(crops, meshes, np.asarray(clip.mesh[stills[0]], np.float32))
        example = {
            "target": torch.from_numpy(augment(crops, look)),
            "references": torch.from_numpy(self._references(rng, clip, window, stills, meshes, look, is_missing)),
            "audio_features": audio_features[window],
            "seed": torch.tensor(int(rng.integers(2**40)), dtype=torch.int64),
        }
        if self.around > 0:
            first = self._elsewhere(rng, clip, start, total) if rng.random() < self.around else start
            seen = np.asarray(clip.crops[first : first + self.frames])
            if photo:
                seen = np.repeat(np.asarray(clip.crops[stills[0]])[None], self.frames, axis=0)
            example["surroundings"] = torch.from_numpy(augment(seen, look))
        if self.between:
            example["between"] = torch.from_numpy(between_lips(meshes, clip.crops.shape[1], look))
        if self.lips is not None:
            code = self.lips(clip, look.flip)
            example["code"] = code[window] - code[stills[0]]
            example["in_sync"] = torch.tensor(clip.in_sync)
        return example

    def _references(
        self,
        rng: np.random.Generator,
        clip: AnyClip,
        window: slice,
        stills: list[int],
        meshes: np.ndarray,
        look: Augmentation,
        is_missing: bool,
    ) -> np.ndarray:
        """(n, R, R, 3) uint8, or (F, n, R, R, 3) in the pose of each frame."""
        pictures = np.stack([clip.crops[k] for k in stills])
        if not self.posed:
            return augment(pictures, look)
        own = np.asarray(clip.mesh)[stills]
        change = self._change(clip, window, stills[0]) if self.shaped else None
        mouths = None
        if is_missing and rng.random() < LENT:
            bank = interiors()
            tint = 1 + TINT * (rng.normal() + 0.5 * rng.normal(size=3))
            which = int(rng.integers(len(bank.pictures)))
            red, green, blue = map(float, tint)
            own_lips = reference_lips(own[:1], pictures[:1])
            lent, mouths = opened(pictures[0], own_lips, bank, which, (red, green, blue))
            pictures[1] = lent
        return augmented_references(pictures, own, meshes, look, change, mouths)

    def _closed(self, rng: np.random.Generator, clip: AnyClip, start: int, total: int) -> list[int]:
        """The most closed of some mouths outside of the window, twice."""
        others = rng.integers(0, total - self.frames, STILL_FRAMES)
        others += self.frames * (others >= start)
        opening = cast(Lips, self.lips).opening(cast(Lips, self.lips)(clip))[others]
        return [int(others[int(opening.argmin())])] * 2

    def _change(self, clip: AnyClip, window: slice, still: int) -> np.ndarray:
        """(F, 80) how far the lips are from those of a still picture, as far as the code knows."""
        lips = cast(Lips, self.lips)
        code = lips(clip)
        return ((code[window] - code[still]) @ lips.motion).numpy()

    def _start(self, rng: np.random.Generator, clip: AnyClip, total: int) -> int:
        """Where a window begins."""
        if self.lips is None or rng.random() >= self.wide:
            return int(rng.integers(0, total - self.frames + 1))
        starts = rng.integers(0, total - self.frames + 1, WIDE_OF)
        opening = self.lips.opening(self.lips(clip))
        return int(max(starts, key=lambda start: float(opening[start : start + self.frames].max())))

    def _elsewhere(self, rng: np.random.Generator, clip: AnyClip, start: int, total: int) -> int:
        """Where another window begins, with the head held as in this one: the most alike of some that overlap it by
        half at most; this one where there is none."""
        still = np.asarray(clip.mesh)[:, list(mesh.RIGID)]
        wanted = still[start : start + self.frames]
        starts = rng.integers(0, total - self.frames + 1, AROUND_OF)
        others = [int(at) for at in starts if 2 * abs(int(at) - start) >= self.frames] or [start]
        return min(others, key=lambda at: float(np.square(still[at : at + self.frames] - wanted).mean()))

    def _stills(self, rng: np.random.Generator, clip: AnyClip, start: int, total: int) -> list[int]:
        """Frames before or after the window; often the most closed and the most open mouth of some, as at run time."""
        others = rng.integers(0, total - self.frames, STILL_FRAMES)
        others += self.frames * (others >= start)
        if self.lips is None or rng.random() >= self.closed_still:
            picks = others[:2]
        else:
            opening = self.lips.opening(self.lips(clip))[others]
            order = opening.argsort().numpy()
            second = STILL_FRAMES - 1
            if self.half_open > 0 and rng.random() < self.half_open:
                second = int(rng.integers(STILL_FRAMES))
            picks = others[order[[0, second]]]
        return [int(pick) for pick in picks][: 1 + self.open_reference]


def augmented_references(
    stills: np.ndarray,
    still_meshes: np.ndarray,
    meshes: np.ndarray,
    look: Augmentation,
    change: np.ndarray | None = None,
    mouths: ReferenceLips | None = None,
) -> np.ndarray:
    """Still pictures (n, R, R, 3) uint8 in the pose of each frame and in a look: (F, n, R, R, 3) uint8.

    Args:
        still_meshes (n, 468, 2), meshes (F, 468, 2): crop pixels, before the look.
        change: (F, 80) of the lips from those of the first still, see `tiny.lip_warp.ReferenceLips.targets`.
        mouths: the lips in the stills; None = they are sought.
    """
    side = stills.shape[1]
    at = terms_at((look.sources(side) + np.float32(0.5)) / np.float32(side)) if look.moves() else crop_terms(side)
    painted = augment(stills, replace(look, scale=1.0, rotation_deg=0.0, shift=(0.0, 0.0), flip=False, warp=()))
    moves = head_moves(meshes, still_meshes, side)
    ways: list[list[WarpField | None]] = [[None] * len(meshes)] * len(stills)
    if change is not None:
        mouths = reference_lips(still_meshes, stills) if mouths is None else mouths
        wanted = mouths.targets(change)
        ways = [mouths.warp_fields(k, wanted[:, k]) for k in range(len(stills))]
    return np.stack(
        [
            [pose_warp(still, move, at, way[k]) for still, move, way in zip(painted, each, ways, strict=True)]
            for k, each in enumerate(moves)
        ]
    )


def _held_alike(clip: AnyClip, window: slice, still: int) -> bool:
    """Is the head held in a window about as in a still picture?"""
    points = np.asarray(clip.mesh)[:, list(mesh.RIGID)]
    return float(np.abs(points[window] - points[still]).mean()) < HELD * clip.crops.shape[1]


def laid_onto(crops: np.ndarray, meshes: np.ndarray, still: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames as they look with the head held as in a still picture, as if the mouths of a photo moved.

    Args: crops (F, R, R, 3) uint8; meshes (F, 468, 2) and still (468, 2), crop pixels.
    Returns: crops, and meshes with the still's points but for the lips.
    """
    side = crops.shape[1]
    lips = list(mesh.LIPS)
    out, points = np.empty_like(crops), np.repeat(still[None].astype(np.float32), len(crops), axis=0)
    for k, (crop, own) in enumerate(zip(crops, meshes, strict=True)):
        move = head_moves(still[None], own[None], side)[0, 0]
        out[k] = pose_warp(crop, move, crop_terms(side))
        places = (own[lips] + np.float32(0.5)) / np.float32(side)
        points[k, lips] = places_in_frame(move, places) * np.float32(side) - np.float32(0.5)
    return out, points


def between_lips(meshes: np.ndarray, side: int, look: Augmentation) -> np.ndarray:
    """(F, side, side) uint8: 1 between open lips, and near by, in a look; see `OPEN_PX`.

    Args: meshes: (F, 468, 2) crop pixels, before it.
    """
    out = np.zeros((len(meshes), side, side), np.uint8)
    grown = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (GROWN_PX, GROWN_PX))
    sources = look.sources(side) if look.moves() else None
    for canvas, points in zip(out, meshes, strict=True):
        cv2.fillPoly(canvas, [np.rint(points[list(mesh.INNER_LIPS)]).astype(np.int32)], 1)
        if canvas.sum() < OPEN_PX:
            canvas[:] = 0
            continue
        canvas[:] = cv2.dilate(canvas, grown)
        if sources is not None:
            canvas[:] = cv2.remap(canvas, sources, None, cv2.INTER_NEAREST)
    return out


class Lips(Protocol):
    """See `lip_shape.LipParameterBasis`."""

    def __call__(self, clip: AnyClip, flip: bool = False) -> Tensor: ...

    def opening(self, code: Tensor) -> Tensor: ...

    @property
    def motion(self) -> Tensor: ...


def augmentation_range(mapping: Mapping[str, Any]) -> AugmentationRange:
    """From a preset. Raises ConfigError on an unknown key."""
    return checked(AugmentationRange, mapping, "task.look")
