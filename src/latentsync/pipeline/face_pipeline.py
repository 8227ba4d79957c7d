"""One person's new mouth: frames and the audio features at them into chunks, generated, made still in pauses,
pasted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from latentsync.core.errors import LatentSyncError
from latentsync.core.values import Float, Frame
from latentsync.faces import extract_crop
from latentsync.generation.protocol import ChunkInputs, ChunkReferences, MouthSampler, TrackReferences
from latentsync.generation.settings import ModelSettings
from latentsync.pipeline.chunks import Chunk, FrameFaces, FrameTask, make_chunks
from latentsync.pipeline.frame_tasks import FrameTasks
from latentsync.pipeline.pasting import Paster
from latentsync.pipeline.pauses import PauseHolder, is_at_rest
from latentsync.pipeline.plan import Speaker
from latentsync.pipeline.timing import StageClock
from latentsync.pipeline.two_stage import STAGES, TwoStageExecutor

HELD_PIXELS = 50 * 3840 * 2160
"""Pixels of frames that are held back at most while reference frames are chosen, shared by the people of a plan: 0.6 GB
in 8 bit 4:2:0. Larger and faster video than 1080p60 has fewer frames to choose from."""
AHEAD_PIXELS = 32 * 1920 * 1080
"""Pixels of frames that may wait at most while their chunks are made; larger and faster video has fewer on the way."""


def one_face_each(frames: Iterable[FrameFaces], speakers: Sequence[Speaker]) -> Iterator[FrameFaces]:
    """Pass frames on as long as no two people are found in one face.

    Raises: LatentSyncError: two speakers' choices are the same face at the same time.
    """
    for each in frames:
        owners: dict[int, Speaker] = {}
        for speaker, face in zip(speakers, each.faces, strict=True):
            if face is None:
                continue
            other = owners.setdefault(face.track_id, speaker)
            if other is not speaker:
                raise LatentSyncError(
                    f"at {float(each.frame.time_s):.2f} s faces {other.face} and {speaker.face} of the plan are the "
                    "same person. Choose them by place, box or picture, or move one of the speeches"
                )
        yield each


@dataclass(frozen=True, slots=True)
class _Begun:
    """A chunk on its way.

    Attributes:
        track, references: where the sampler takes reference frames.
        generated: each interleaved set's crops, to be waited for; None where the closed reference is shown in all
            frames.
    """

    chunk: Chunk
    originals: Float
    track: TrackReferences | None
    references: ChunkReferences | None
    generated: tuple[Callable[[], Float], ...] | None

    def crops(self) -> Float | None:
        """(F, R, R, 3) with the new mouth."""
        if self.generated is None:
            return None
        out = np.empty_like(self.originals)
        for first, wait in enumerate(self.generated):
            out[first :: len(self.generated)] = wait()
        return out


def chunks_ahead(pixels: int, frames: int, people: int) -> int:
    """Chunks of so many frames of so many pixels that may be on their way while the next one is cut, for each of the
    people."""
    return min(STAGES, AHEAD_PIXELS // (pixels * frames * people))


class FacePipeline:
    """Gives people their new mouths, one person after the other: chunk → generate → hold pauses → paste."""

    def __init__(
        self,
        sampler: MouthSampler,
        paster: Paster,
        settings: ModelSettings,
        sets: int,
        overlap: int,
        clock: StageClock,
        people: int = 1,
        executor: TwoStageExecutor | None = None,
    ) -> None:
        """Args: sets: interleaved sets that frames are dealt into. overlap: frames shared by chunks of one set. people:
        how many of them share the memory. executor: makes chunks beside this thread, instead of the sampler in it."""
        self._sampler, self._paster, self._settings, self._clock = sampler, paster, settings, clock
        self._sets, self._size, self._overlap = sets, settings.num_frames * sets, overlap * sets
        self._people, self._executor = people, executor

    def run(self, frames: Iterable[FrameFaces], person: int, tasks: FrameTasks) -> Iterator[FrameFaces]:
        """Every frame in order, with the new mouth of one of its faces."""
        coming: Iterator[FrameTask] = (tasks.task(each, each.faces[person]) for each in frames)
        tracks: dict[int, TrackReferences] = {}
        if self._sampler.reference_frames:
            coming = self._with_references(coming, tracks)
        known: dict[int, Float] = {}
        on_the_way: deque[_Begun] = deque()
        finishing = _Finishing(self._paster, self._clock)
        for chunk in make_chunks(coming, self._size, self._overlap):
            if not chunk.is_edited:
                yield from finishing.finish(on_the_way)
                yield _untouched(chunk.tasks[0])
                continue
            with self._clock.stage("generate"):
                originals = np.stack([self._crop(task, known) for task in chunk.tasks])
                on_the_way.append(self._begun(chunk, originals, tracks))
            known = {task.frame.index: crop for task, crop in zip(chunk.tasks, originals, strict=True)}
            yield from finishing.finish(on_the_way, self._num_ahead(chunk.tasks[0].frame))
        yield from finishing.finish(on_the_way)

    def _begun(self, chunk: Chunk, originals: Float, tracks: dict[int, TrackReferences]) -> _Begun:
        """Have the new mouths made, each interleaved set on its own."""
        tasks = chunk.tasks
        frames = [task.frame.index for task in tasks]
        track = tracks.get(cast(int, tasks[0].track_id)) if self._sampler.reference_frames else None
        references = None if track is None else track.of_chunk(frames, [task.required_face for task in tasks])
        if track is not None and all(is_at_rest(task, track) for task in tasks):
            return _Begun(chunk, originals, track, references, None)
        audio_features = torch.stack([task.audio_features for task in tasks])
        generated = []
        for first in range(min(self._sets, len(tasks))):
            part = slice(first, None, self._sets)
            own = None if references is None else references.part(part)
            generated.append(self._generate(ChunkInputs(originals[part], audio_features[part], frames[part], own)))
        return _Begun(chunk, originals, track, references, tuple(generated))

    def _generate(self, inputs: ChunkInputs) -> Callable[[], Float]:
        if self._executor is not None:
            return self._executor.begin(inputs)
        return lambda: self._sampler.finish(self._sampler.prepare(inputs))

    def _num_ahead(self, frame: Frame) -> int:
        """Chunks that may be on their way while the next one is cut."""
        if self._executor is None:
            return 0
        return chunks_ahead(frame.picture.width * frame.picture.height, self._size, self._people)

    def _crop(self, task: FrameTask, known: dict[int, Float] | None = None) -> Float:
        """(R, R, 3); `known` are those of the chunk before, by the frames' indices."""
        crop = None if known is None else known.get(task.frame.index)
        if crop is not None:
            return crop
        return extract_crop(task.frame.picture, task.required_face.frame_to_crop, self._settings.resolution)

    def _with_references(self, tasks: Iterator[FrameTask], tracks: dict[int, TrackReferences]) -> Iterator[FrameTask]:
        """Pass frames on; before the first of a track, put the track's references into `tracks`. Frames are held back
        only to choose them."""
        ahead: deque[FrameTask] = deque()
        last: int | None = None
        while True:
            if not ahead:
                ahead.extend(task for task in [next(tasks, None)] if task is not None)
            if not ahead:
                return
            track = ahead[0].track_id
            if track is not None and track not in tracks:
                while len(ahead) < self._num_held(ahead[0].frame) and ahead[-1].track_id == track:
                    task = next(tasks, None)
                    if task is None:
                        break
                    ahead.append(task)
                own = [task for task in ahead if task.track_id == track]  # the last one may be of another
                for old in [old for old in tracks if old != last]:  # the last one's chunk may still be under way
                    del tracks[old]
                tracks[track] = self._chosen(own)
            last = track
            yield ahead.popleft()

    def _chosen(self, tasks: Sequence[FrameTask]) -> TrackReferences:
        faces = [task.required_face for task in tasks]
        return self._sampler.choose_references(faces, lambda k: self._crop(tasks[k]), self._sets)

    def _num_held(self, frame: Frame) -> int:
        """Frames among which the references of a track are chosen."""
        fit = HELD_PIXELS // (frame.picture.width * frame.picture.height * self._people)
        return min(self._sampler.reference_frames * self._sets, max(self._size, fit))


class _Finishing:
    """The end of a person's way: chunks cross-faded, pauses held, crops pasted; chunks come in order."""

    def __init__(self, paster: Paster, clock: StageClock) -> None:
        self._paster, self._clock = paster, clock
        self._pauses, self._shared = PauseHolder(), dict[int, Float]()

    def finish(self, on_the_way: deque[_Begun], most: int = 0) -> Iterator[FrameFaces]:
        """Paste what is finished until so many chunks are left."""
        while len(on_the_way) > most:
            begun = on_the_way.popleft()
            chunk = begun.chunk
            with self._clock.stage("generate"):
                crops = begun.crops()
            self._shared = {} if crops is None else _cross_faded(chunk, crops, self._shared)
            for k in range(chunk.num_old, len(chunk.tasks) - chunk.num_held):
                with self._clock.stage("paste"):
                    task = chunk.tasks[k]
                    crop = self._pauses.held(
                        task, None if crops is None else crops[k], begun.track, begun.references, k
                    )
                    frame = self._paster(task, crop, begun.originals[k])
                yield replace(task.source, frame=frame, is_edited=True, is_asked=True)


def _untouched(task: FrameTask) -> FrameFaces:
    missing = task.is_asked and task.face is None
    source = task.source
    return replace(source, is_asked=source.is_asked or task.is_asked, is_missing=source.is_missing or missing)


def _cross_faded(chunk: Chunk, crops: Float, shared: dict[int, Float]) -> dict[int, Float]:
    """Blend the frames that the chunk before held back into `crops`, in place; return what this chunk holds back.
    A chunk at rest holds nothing back."""
    for k in range(chunk.num_shared):
        at = chunk.num_old + k
        before = shared.get(chunk.tasks[at].frame.index)
        if before is not None:
            share = np.float32((k + 1) / (chunk.num_shared + 1))
            crops[at] = share * crops[at] + (1 - share) * before
    first = len(chunk.tasks) - chunk.num_held
    return {chunk.tasks[k].frame.index: crops[k] for k in range(first, len(chunk.tasks))}
