"""One person's new mouth: frames and what is heard at them into chunks, generated, made still in pauses, pasted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch

from latentsync.core.errors import LatentSyncError
from latentsync.core.values import AlignedFace, Float, Frame
from latentsync.faces import extract_crop
from latentsync.faces import topology as mesh
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.pose_warp import crop_terms, repose
from latentsync.generation.tiny.references import (
    STEADY,
    References,
    Stills,
    Turns,
    choose_stills,
    in_crop,
    mouths_of,
    with_open_mouth,
)
from latentsync.pipeline.audio_features import FrameTasks
from latentsync.pipeline.cache import Generate
from latentsync.pipeline.chunks import Chunk, FrameTask, make_chunks
from latentsync.pipeline.pasting import Paster
from latentsync.pipeline.plan import Speaker
from latentsync.pipeline.timing import StageClock
from latentsync.pipeline.two_stage import STAGES, TwoStageExecutor

STILL_FRAMES = 75
"""Frames of a track among which its still references are chosen: most people close and open their mouth in three
seconds of speech. Among 50 the most closed mouth of some speakers was not quite closed: figures in docs/tiny.md."""
HELD_PIXELS = 50 * 3840 * 2160
"""Pixels of frames that are held back at most while still references are sought, shared by the people of a plan: 0.6 GB
in 8 bit 4:2:0. Larger and faster video than 1080p60 has fewer frames to choose from."""
PAUSE_FRAMES = 12
"""Frames over which a mouth is averaged in a pause: it follows a turning head, and no faster movement."""


HELD = (0.03, 0.06)
"""Mean distance of the face's still points from those of the closed reference, in eye distances: up to the first a
pause shows the reference's own mouth, from the second on the generated one, which follows the turning head. Held
heads of three GRID speakers stay below 0.011 in 99 % of frames; of a man who moves his half the frames are beyond
0.036, one in ten beyond 0.066."""
HELD_POSED = (0.08, 0.14)
"""The same where the reference is turned as the head is."""


AHEAD_PIXELS = 32 * 1920 * 1080
"""Pixels of frames that may wait at most while their chunks are made; larger and faster video has fewer on the way."""


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """A frame on its way through the people of a film.

    Attributes:
        faces: where each of them is, None where it cannot be edited or nobody asks.
        is_edited: it has a new mouth. is_asked: one was asked for; is_missing: and there is no face.
    """

    frame: Frame
    faces: tuple[AlignedFace | None, ...]
    is_edited: bool = False
    is_asked: bool = False
    is_missing: bool = False


def one_face_each(scenes: Iterable[FrameFaces], speakers: Sequence[Speaker]) -> Iterator[FrameFaces]:
    """Pass scenes on as long as no two people are found in one face.

    Raises: LatentSyncError: two speakers' choices are the same face at the same time.
    """
    for scene in scenes:
        owners: dict[int, Speaker] = {}
        for speaker, face in zip(speakers, scene.faces, strict=True):
            if face is None:
                continue
            other = owners.setdefault(face.track_id, speaker)
            if other is not speaker:
                raise LatentSyncError(
                    f"at {float(scene.frame.time_s):.2f} s faces {other.face} and {speaker.face} of the plan are the "
                    "same person. Choose them by place, box or picture, or move one of the speeches"
                )
        yield scene


@dataclass(frozen=True, slots=True)
class _Begun:
    """A chunk on its way. `moves`: (F, n, 4, 2) to the references, where they are posed. `made`: each interleaved set's
    crops, to be waited for; None where the closed reference is shown in all frames."""

    chunk: Chunk
    originals: Float
    still: Stills | None
    moves: Float | None
    made: tuple[Callable[[], Float], ...] | None

    def crops(self) -> Float | None:
        """(F, R, R, 3) with the new mouth."""
        if self.made is None:
            return None
        out = np.empty_like(self.originals)
        for first, made in enumerate(self.made):
            out[first :: len(self.made)] = made()
        return out


def chunks_ahead(pixels: int, frames: int, people: int) -> int:
    """Chunks of so many frames of so many pixels that may be on their way while the next one is cut, for each of the
    people."""
    return min(STAGES, AHEAD_PIXELS // (pixels * frames * people))


class FacePipeline:
    """Lends people their new mouths, one person after the other."""

    def __init__(
        self,
        generate: Generate,
        paster: Paster,
        settings: ModelSettings,
        sets: int,
        overlap: int,
        clock: StageClock,
        people: int = 1,
        executor: TwoStageExecutor | None = None,
    ) -> None:
        """Args: sets: interleaved sets that frames are dealt into. overlap: frames shared by chunks of one set. people:
        how many of them share the memory. executor: makes chunks beside this thread, instead of `generate`."""
        self._generate, self._paster, self._settings, self._clock = generate, paster, settings, clock
        self._sets, self._size, self._overlap = sets, settings.num_frames * sets, overlap * sets
        self._people, self._executor = people, executor

    def dub(self, scenes: Iterable[FrameFaces], person: int, hearing: FrameTasks) -> Iterator[FrameFaces]:
        """Every scene in order, its frame with the new mouth of one of its faces."""
        under_way: deque[FrameFaces] = deque()

        def items() -> Iterator[FrameTask]:
            for scene in scenes:
                under_way.append(scene)
                yield hearing.item(scene.frame, scene.faces[person])

        stills: dict[int, Stills] = {}
        cut: dict[int, Float] = {}
        pause, turns = _Pause(), Turns(STEADY * self._sets)
        held: dict[int, Float] = {}
        on_the_way: deque[_Begun] = deque()

        def done(most: int = 0) -> Iterator[FrameFaces]:
            """Paste what is finished until so many chunks are left."""
            nonlocal held
            while len(on_the_way) > most:
                begun = on_the_way.popleft()
                chunk = begun.chunk
                with self._clock.stage("generate"):
                    crops = begun.crops()
                held = {} if crops is None else _cross_faded(chunk, crops, held)
                for k in range(chunk.num_old, len(chunk.items) - chunk.num_held):
                    with self._clock.stage("paste"):
                        item = chunk.items[k]
                        move = None if begun.moves is None else begun.moves[k, 0]
                        made = pause.calmed(item, None if crops is None else crops[k], begun.still, move)
                        frame = self._paster(item, made, begun.originals[k])
                    yield replace(under_way.popleft(), frame=frame, is_edited=True, is_asked=True)

        coming = self._with_stills(items(), stills) if self._settings.still_reference else items()
        for chunk in make_chunks(coming, self._size, self._overlap):
            if not chunk.is_edited:
                yield from done()
                scene, item = under_way.popleft(), chunk.items[0]
                missing = item.is_asked and item.face is None
                yield replace(scene, is_asked=scene.is_asked or item.is_asked, is_missing=scene.is_missing or missing)
                continue
            with self._clock.stage("generate"):
                originals = np.stack([self._crop(item, cut) for item in chunk.items])
                on_the_way.append(self._begun(chunk, originals, stills, turns))
            cut = {item.frame.index: crop for item, crop in zip(chunk.items, originals, strict=True)}
            yield from done(self._num_ahead(chunk.items[0].frame))
        yield from done()

    def _begun(self, chunk: Chunk, originals: Float, stills: dict[int, Stills], turns: Turns) -> _Begun:
        """Have the new mouths made, each interleaved set on its own."""
        still = stills[cast(int, chunk.items[0].track_id)] if self._settings.still_reference else None
        moves = None
        if still is not None and self._settings.posed_references:
            faces = [cast(AlignedFace, item.face) for item in chunk.items]
            moves = turns.of([item.frame.index for item in chunk.items], faces, still)
        if still is not None and all(_is_at_rest(item, still, moves is not None) for item in chunk.items):
            return _Begun(chunk, originals, still, moves, None)
        windows = torch.stack([item.window for item in chunk.items])
        indices = [item.frame.index for item in chunk.items]
        made = []
        for first in range(min(self._sets, len(indices))):
            part = slice(first, None, self._sets)
            own_moves = None if moves is None else moves[part]
            references = None if still is None else References(still.crops, own_moves, still.mouths)
            given = originals[part], windows[part], indices[part], references
            made.append(partial(self._generate, *given) if self._executor is None else self._executor.begin(*given))
        return _Begun(chunk, originals, still, moves, tuple(made))

    def _num_ahead(self, frame: Frame) -> int:
        """Chunks that may be on their way while the next one is cut."""
        if self._executor is None:
            return 0
        return chunks_ahead(frame.picture.width * frame.picture.height, self._size, self._people)

    def _crop(self, item: FrameTask, known: dict[int, Float] | None = None) -> Float:
        """(R, R, 3); `known` are those of the chunk before, by the frames' indices."""
        crop = None if known is None else known.get(item.frame.index)
        if crop is not None:
            return crop
        face = cast(AlignedFace, item.face)
        return extract_crop(item.frame.picture, face.frame_to_crop, self._settings.resolution)

    def _with_stills(self, items: Iterator[FrameTask], stills: dict[int, Stills]) -> Iterator[FrameTask]:
        """Pass items on; before the first of a track, put the track's still references, (n, R, R, 3), into `stills`.

        The first shows a closed mouth, as that says least about an old word; the second, where the model takes one, an
        open one, see `choose_stills`. Frames are held back only to find them.
        """
        ahead: deque[FrameTask] = deque()
        last: int | None = None
        while True:
            if not ahead:
                ahead.extend(item for item in [next(items, None)] if item is not None)
            if not ahead:
                return
            track = ahead[0].track_id
            if track is not None and track not in stills:
                while len(ahead) < self._num_held(ahead[0].frame) and ahead[-1].track_id == track:
                    item = next(items, None)
                    if item is None:
                        break
                    ahead.append(item)
                own = [item for item in ahead if item.track_id == track]  # the last one may be of another
                points = np.stack([in_crop(cast(AlignedFace, item.face)) for item in own])
                for old in [old for old in stills if old != last]:  # the last one's chunk may still be under way
                    del stills[old]
                picks = choose_stills(points)[: 1 + self._settings.open_reference]
                crops = np.stack([self._crop(own[pick]) for pick in picks])
                mouths = mouths_of(points[picks], crops) if self._settings.shaped_references else None
                stills[track] = with_open_mouth(Stills(crops, points[picks], mouths))
            last = track
            yield ahead.popleft()

    def _num_held(self, frame: Frame) -> int:
        """Frames among which the still references of a track are chosen."""
        fit = HELD_PIXELS // (frame.picture.width * frame.picture.height * self._people)
        return min(STILL_FRAMES * self._sets, max(self._size, fit))


def _share_of_reference(item: FrameTask, still: Stills, posed: bool) -> np.float32:
    """1 where the head is held as in the first reference, 0 where it is turned away."""
    alike, apart = HELD_POSED if posed else HELD
    points, own = in_crop(cast(AlignedFace, item.face)), still.points[0]
    across = own[mesh.RIGHT_EYE_OUTER] - own[mesh.LEFT_EYE_OUTER]
    away = np.hypot(*(points - own)[list(mesh.STILL)].T).mean() / max(float(np.hypot(*across)), 1e-6)
    return np.float32(np.clip((apart - away) / (apart - alike), 0, 1))


def _is_at_rest(item: FrameTask, still: Stills, posed: bool) -> bool:
    """Whether the first reference is all that is shown of the mouth."""
    return item.quiet >= 1 and bool(_share_of_reference(item, still, posed) >= 1)


class _Pause:
    """In a pause the mouth is closed, and still: that of the closed reference, where the head is held as there; else
    the mean of those so far, of the last PAUSE_FRAMES about."""

    def __init__(self) -> None:
        self._mean: Float | None = None
        self._track: int | None = None
        self._num = 0

    def calmed(self, item: FrameTask, crop: Float | None, still: Stills | None, move: Float | None) -> Float:
        """The crop of the next frame; on the way into the pause and out of it partly so.

        Args:
            crop: None = the frame is at rest, and none was made.
            move: the way to the reference, where it can be turned.
        """
        if item.quiet <= 0 or item.track_id != self._track:
            self._mean, self._track, self._num = None, item.track_id, 0
        if crop is None:
            return _closed(cast(Stills, still), move)
        if item.quiet >= 1:
            self._num = min(self._num + 1, PAUSE_FRAMES)
            self._mean = crop if self._mean is None else self._mean + (crop - self._mean) / np.float32(self._num)
        if self._mean is None and (still is None or item.quiet <= 0):
            return crop
        calm = crop if self._mean is None else self._mean
        if still is not None:
            calm = calm + _share_of_reference(item, still, move is not None) * (_closed(still, move) - calm)
        return crop + np.float32(item.quiet) * (calm - crop)


def _closed(still: Stills, move: Float | None) -> Float:
    """The first reference as it looks in the frame's pose."""
    crop: Float = still.crops[0]
    return crop if move is None else np.clip(repose(crop, move, crop_terms(len(crop))), 0, 1)


def _cross_faded(chunk: Chunk, crops: Float, held: dict[int, Float]) -> dict[int, Float]:
    """Blend the frames that the chunk before held back into `crops`, in place; return what this chunk holds back.
    A chunk at rest holds nothing back."""
    for k in range(chunk.num_shared):
        at = chunk.num_old + k
        before = held.get(chunk.items[at].frame.index)
        if before is not None:
            share = np.float32((k + 1) / (chunk.num_shared + 1))
            crops[at] = share * crops[at] + (1 - share) * before
    first = len(chunk.items) - chunk.num_held
    return {chunk.items[k].frame.index: crops[k] for k in range(first, len(chunk.items))}
