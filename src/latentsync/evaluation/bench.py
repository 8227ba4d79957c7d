"""One clip on the bench: watched once, driven by each method in each of its cases, scored beside the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from latentsync.core.errors import MediaError
from latentsync.core.values import Float, Frame
from latentsync.evaluation.baselines import frozen_mouth, moved_mouth, there_and_back
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.distributions import Collector
from latentsync.evaluation.keep import Kept
from latentsync.evaluation.methods import Method
from latentsync.evaluation.mouths import KIND, mouth_features
from latentsync.evaluation.native import native_scores
from latentsync.evaluation.pictures import strip_jpeg
from latentsync.evaluation.protocols import MIN_STEPS, Case
from latentsync.evaluation.results import FROZEN, REAL, SHUFFLED, UNTOUCHED, Evidence, Row, SuiteOptions
from latentsync.evaluation.scoring import Judges, Material, Scores, score, shifted_lag, sync_scores
from latentsync.evaluation.speech import Donor, loudness_db, own_speech
from latentsync.evaluation.watching import Watched, measure_mirrored, watch
from latentsync.faces.masks import inpaint_mask
from latentsync.faces.protocol import FaceTracker
from latentsync.media.audio import write_wav
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.metrics.lips import lagged_correlation


class Bench:
    """One clip, and what its cases need. Nothing is watched before it is asked for."""

    def __init__(
        self,
        clip: TestClip,
        own: Donor,
        tracker: FaceTracker,
        options: SuiteOptions,
        judges: Judges,
        collectors: Sequence[Collector],
        folder: Path,
        several: bool = False,
    ) -> None:
        """Args: folder: for files in between. several: methods are distinguished in names of files and of columns."""
        self._several = several
        self.clip, self.own, self.tracker = clip, own, tracker
        self.options, self.judges, self.collectors, self.folder = options, judges, collectors, folder
        self.mask: Float = inpaint_mask(options.resolution, options.mask)
        self._prepared: tuple[Path, Watched] | None = None

    @cached_property
    def real(self) -> Watched:
        """The clip itself."""
        return watch(self.clip.path, self.tracker, self.options.resolution, max_frames=self.options.max_frames)

    def prepared(self, case: Case) -> tuple[Path, Watched]:
        """The video that goes in, and what is seen of it."""
        if case.protocol != "reconstruction":
            return self.clip.path, self.real
        if self._prepared is None:
            video = self.folder / f"{self.clip.clip_id}-moved.mkv"
            write_moved(self.clip.path, video, self.real, self.mask)
            self._prepared = video, watch(video, self.tracker, self.options.resolution, self.real)
        return self._prepared

    def clear(self) -> None:
        """Take away what was written for a case."""
        if self._prepared is not None:
            self._prepared[0].unlink(missing_ok=True)
        self._prepared = None

    def truth(self, case: Case) -> Watched | None:
        """The real video of the case's very words, where there is one."""
        return self.real if case.protocol in ("paired", "reconstruction") else None

    def run(self, case: Case, method: Method, video: Path | None) -> Kept:
        """Drive and score one method; `video` is its result where somebody made it."""
        if video is not None:
            return self._scored_file(case, method, video)
        source, _ = self.prepared(case)
        speech = self.folder / f"{self.clip.clip_id}-{case.protocol}-speech.wav"
        write_wav(speech, case.speech.wave)
        kept_folder = self.options.keep_folder
        place = self.folder if kept_folder is None else kept_folder / method.name if self._several else kept_folder
        place.mkdir(parents=True, exist_ok=True)
        out = place / f"{self.clip.clip_id}-{case.protocol}.mp4"
        try:
            assert method.driver is not None
            method.driver(source, speech, out)
            return self._scored_file(case, method, out)
        finally:
            speech.unlink(missing_ok=True)
            if place == self.folder:
                out.unlink(missing_ok=True)

    def _scored_file(self, case: Case, method: Method, path: Path) -> Kept:
        _, driven = self.prepared(case)
        result = watch(path, self.tracker, self.options.resolution, self.real)
        if len(result.opening) < MIN_STEPS:
            raise MediaError(f"{path}: shorter than {MIN_STEPS / 25:.0f} s. Give the whole result")
        driven, truth = driven.at(result.times_s), self.truth(case)
        truth = None if truth is None else truth.at(result.times_s)
        material = Material(result, driven, case.speech, self.mask, truth, path, chunk_frames=method.chunk_frames)
        scores = self._scored(case, material)
        if self.options.native:
            scores |= native_scores(path, self.clip.path, result, driven, self.mask)
        rows = [self._row(case, method.name, scores)]
        if case.other is not None:
            name = f"{method.name}, {SHUFFLED}" if self._several else SHUFFLED
            rows.append(self._row(case, name, sync_scores(result, case.other, None, self.judges, path)))
        evidence = Evidence(
            rows[0],
            result.opening,
            case.speech.opening,
            driven.opening,
            loudness_db(case.speech.wave, len(result.opening)),
            strip_jpeg(driven.crops, result.crops),
        )
        return Kept(rows, evidence, self._features(method.name, result, driven))

    def baselines(self, case: Case) -> Kept:
        """What needs no network, as long as a result would be."""
        video, driven = self.prepared(case)
        num_frames = max(1, int((driven.times_s < case.speech.duration_s - 1e-3).sum()))
        driven, truth = driven.cut(num_frames), self.truth(case)
        truth = None if truth is None else truth.cut(num_frames)
        material = Material(driven, driven, case.speech, self.mask, truth, video)
        kept = Kept([])
        for name, part in self._baselines(material, driven):
            if name == REAL:
                scores = _without_trivial(score(part, self.judges)) | self._ceiling
            else:
                scores = self._scored(case, part)
            kept.rows.append(self._row(case, name, scores))
            if name != REAL:
                kept.features |= self._features(name, part.result, driven)
        return kept

    def _baselines(self, material: Material, driven: Watched) -> Iterator[tuple[str, Material]]:
        yield UNTOUCHED, material
        yield FROZEN, replace(material, result=frozen_mouth(driven, self.mask), path=None)
        real = self.real.cut(len(driven))
        speech = own_speech(self.own, len(real.opening))
        yield REAL, replace(material, result=there_and_back(real), driven=real, speech=speech, path=self.clip.path)

    @cached_property
    def _ceiling(self) -> Scores:
        """The clip's mouth against itself, measured a second time: the most that cross_r and width_r can be."""
        again = measure_mirrored(self.clip.path, self.tracker, self.options.max_frames)
        pairs = {"cross_r": (again.opening, self.own.opening), "width_r": (again.width, self.own.width)}
        found = {name: lagged_correlation(a, b, 0).best_r for name, (a, b) in pairs.items() if b is not None}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def _features(self, system: str, result: Watched, driven: Watched) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        found = {}
        for collector in self.collectors:
            made = collector.features(result.crops[driven.seen[: len(result)]])
            real = collector.features(self.real.crops[self.real.seen])
            if made is not None and real is not None:
                found[f"{collector.kind}/{system}"] = made, real
        if self.judges.mouth is not None:
            found[f"{KIND}/{system}"] = mouth_features(result, self.judges.mouth), self._real_mouths
        return found

    @cached_property
    def _real_mouths(self) -> np.ndarray:
        assert self.judges.mouth is not None
        return mouth_features(self.real, self.judges.mouth)

    def _scored(self, case: Case, material: Material) -> Scores:
        found = score(material, self.judges)
        if case.protocol == "shifted":
            own = own_speech(self.own, self.own.num_steps)
            found["lag_frames"] = shifted_lag(material.result, own) - case.shift_frames
        return found

    def _row(self, case: Case, system: str, scores: Scores) -> Row:
        return Row(case.protocol, system, self.clip.clip_id, self.clip.person, case.speech.pieces, scores)


def _without_trivial(scores: Scores) -> Scores:
    """A clip compared with itself follows itself perfectly and leaks itself: such figures say nothing."""
    trivial = ("cross_r", "cross_chance", "lag_frames", "width_r", "leakage_r", "leakage", "lmd_pct", "csim")
    return {name: value for name, value in scores.items() if name not in trivial}


def write_inputs(bench: Bench, case: Case, out: Path) -> tuple[Path, Path]:
    """The video and the speech of a case as files below `out`; nothing is written over."""
    folder = out / case.protocol
    folder.mkdir(parents=True, exist_ok=True)
    source, _ = bench.prepared(case)
    video, speech = folder / f"{case.clip.clip_id}{source.suffix}", folder / f"{case.clip.clip_id}.wav"
    if case.protocol == "reconstruction":
        source.replace(video)
        bench.clear()
    else:
        video.write_bytes(source.read_bytes())
    write_wav(speech, case.speech.wave)
    return video, speech


def write_moved(source: Path, target: Path, watched: Watched, mask: Float) -> None:
    """Write the clip with each frame's mouth region exchanged for that of `moved_mouth`, same size, rate and times.

    Args:
        watched: of `source`; its frames alone are written.
        mask: (R, R) 1 = exchanged, at the crops' resolution.
    """
    from latentsync.faces.paste import paste_mouth

    order = moved_mouth(watched)
    crops = watched.crops.astype(np.float32) / 255
    with VideoReader(source) as reader, VideoWriter(target, like=reader.info, codec="ffv1") as writer:
        for index, frame in enumerate(reader):
            if index >= len(watched):
                break
            picture = frame.picture
            if order[index] != index:
                picture = paste_mouth(picture, crops[order[index]], watched.frame_to_crop[index], mask)
            writer.write(Frame(frame.index, frame.time_s, picture))
