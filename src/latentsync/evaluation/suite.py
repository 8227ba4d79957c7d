"""Run a suite: every clip through every protocol, beside the baselines, into rows of scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from latentsync.core.errors import ConfigError, EmptyAudioError, LatentSyncError, Stopped
from latentsync.core.files import temporary_folder, without_temporary
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.values import Float, Frame
from latentsync.evaluation.baselines import frozen_mouth, moved_mouth, there_and_back
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.distributions import Collector, Distribution
from latentsync.evaluation.pictures import strip_jpeg
from latentsync.evaluation.protocols import MIN_STEPS, PROTOCOLS, Case, Protocol, cases_of
from latentsync.evaluation.scoring import Judges, Material, Scores, score, shifted_lag, sync_scores
from latentsync.evaluation.speech import Donor, Speech, loudness_db, own_speech
from latentsync.evaluation.watching import Watched, measure, watch
from latentsync.faces.masks import inpaint_mask
from latentsync.faces.tracker import FaceTracker
from latentsync.media.audio import read_audio, write_wav
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter

log = logging.getLogger(__name__)

Driver = Callable[[Path, Path, Path], None]
"""(video, speech, out): lip-sync with the model under test; the result starts with the video's first frame."""

MODEL, UNTOUCHED, FROZEN, SHUFFLED, REAL = "model", "untouched", "frozen mouth", "shuffled audio", "real"
SYSTEMS = (MODEL, UNTOUCHED, FROZEN, SHUFFLED, REAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteOptions:
    """What a suite does.

    Attributes:
        protocols: see `protocols.EXPLAINED`.
        seed: decides who speaks over whom, and which parts of their sentences.
        resolution: side of the aligned crops that pictures are compared in.
        mask: name of the model's inpaint mask.
        shift_frames: delay of the shifted protocol, 1/25 s.
        chunk_frames: frames the model denoises together; None = not known, no seam score.
        max_frames: frames used of each clip.
        keep_folder: where results are kept as videos; None = they are deleted after scoring.
    """

    protocols: tuple[Protocol, ...] = PROTOCOLS
    seed: int = 0
    resolution: int = 256
    mask: str = "mask"
    shift_frames: int = 5
    chunk_frames: int | None = 16
    max_frames: int = 500
    keep_folder: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or not self.protocols:
            raise ConfigError("protocol", ",".join(self.protocols), f"choose of {', '.join(PROTOCOLS)}")
        if self.shift_frames == 0 or abs(self.shift_frames) > 10:
            raise ConfigError("shift_frames", self.shift_frames, "choose 1 to 10 frames, or a negative number")
        if self.max_frames < MIN_STEPS:
            raise ConfigError("max_frames", self.max_frames, f"choose {MIN_STEPS} or more")


@dataclass(frozen=True)
class Row:
    """Scores of one system on one case; `speech` says whose words, in parts."""

    protocol: Protocol
    system: str
    clip_id: str
    person: str
    speech: tuple[tuple[str, float, float], ...]
    scores: Scores


@dataclass(frozen=True)
class Evidence:
    """What a person looks at: curves on the 25 Hz grid and a strip of mouths, source over result (JPEG)."""

    row: Row
    opening: np.ndarray
    speaker: np.ndarray | None
    old: np.ndarray
    loudness: np.ndarray
    strip: bytes


@dataclass
class SuiteResult:
    """Everything a report is made of. `failed`: (clip, protocol, message) that could not be done."""

    clips: list[TestClip]
    options: SuiteOptions
    rows: list[Row] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)


def run_suite(
    clips: Sequence[TestClip],
    driver: Driver,
    tracker: FaceTracker,
    options: SuiteOptions | None = None,
    judges: Judges | None = None,
    collectors: Sequence[Collector] = (),
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> SuiteResult:
    """Drive every clip by every protocol and score it and the baselines.

    One clip's crops are held at a time. A clip or case that cannot be done (no face, no sound, the model refuses) is
    listed in `failed` and the suite goes on; our own bugs fly.

    Raises: ConfigError: cross-driving with one person. Stopped: the stop flag.
    """
    options, judges = options or SuiteOptions(), judges or Judges()
    result = SuiteResult(list(clips), options)
    donors: dict[str, Donor] = {}
    for index, clip in enumerate(clips):
        check(stop)
        progress(Progress("listen", index, len(clips), "clips"))
        try:
            donors[clip.clip_id] = _donor(clip, tracker, options.max_frames)
        except LatentSyncError as error:
            result.failed.append((clip.clip_id, "all", str(error)))
    progress(Progress("listen", len(clips), len(clips), "clips"))
    by_person: dict[str, list[Donor]] = {}
    usable = [clip for clip in clips if clip.clip_id in donors]
    for clip in usable:
        by_person.setdefault(clip.person, []).append(donors[clip.clip_id])
    done, total = 0, len(usable) * len(options.protocols)
    with temporary_folder() as folder:
        for clip in usable:
            bench = _Bench(clip, driver, tracker, options, judges, collectors, folder)
            own = donors[clip.clip_id]
            for case in cases_of(clip, options.protocols, by_person, own, options.seed, options.shift_frames):
                check(stop)
                progress(Progress("drive", done, total, "cases"))
                try:
                    rows, evidence = bench.run(case, own)
                    result.rows += rows
                    result.evidence.append(evidence)
                except Stopped:
                    raise
                except LatentSyncError as error:
                    why = without_temporary(str(error))
                    log.warning("%s, %s: %s", clip.clip_id, case.protocol, why)
                    result.failed.append((clip.clip_id, case.protocol, why))
                done += 1
    progress(Progress("drive", total, total, "cases"))
    result.distributions = [line for collector in collectors for line in collector.results()]
    return result


def _donor(clip: TestClip, tracker: FaceTracker, max_frames: int) -> Donor:
    lips = measure(clip.path, tracker, max_frames)
    donor = Donor(clip.clip_id, read_audio(clip.path), lips.opening, clip.phones, lips.width)
    if donor.num_steps < MIN_STEPS:
        raise EmptyAudioError(f"{clip.path}: shorter than {MIN_STEPS / 25:.0f} s. Use a longer clip")
    return donor


class _Bench:
    """One clip on the bench: watched once, driven by each of its cases."""

    def __init__(
        self,
        clip: TestClip,
        driver: Driver,
        tracker: FaceTracker,
        options: SuiteOptions,
        judges: Judges,
        collectors: Sequence[Collector],
        folder: Path,
    ) -> None:
        self.clip, self.driver, self.tracker = clip, driver, tracker
        self.options, self.judges, self.collectors, self.folder = options, judges, collectors, folder
        self.mask: Float = inpaint_mask(options.resolution, options.mask)
        self.real = watch(clip.path, tracker, options.resolution, max_frames=options.max_frames)

    def run(self, case: Case, own: Donor) -> tuple[list[Row], Evidence]:
        video, driven, truth = self.clip.path, self.real, None
        if case.protocol == "reconstruction":
            video = self.folder / f"{self.clip.clip_id}-moved.mkv"
            write_moved(self.clip.path, video, self.real, self.mask)
            truth = self.real
            driven = watch(video, self.tracker, self.options.resolution, self.real)
        speech_path = self.folder / f"{self.clip.clip_id}-{case.protocol}-speech.wav"
        write_wav(speech_path, case.speech.wave)
        out_folder = self.options.keep_folder or self.folder
        out = out_folder / f"{self.clip.clip_id}-{case.protocol}.mp4"
        self.driver(video, speech_path, out)
        result = watch(out, self.tracker, self.options.resolution, self.real)
        driven, truth = driven.cut(len(result)), None if truth is None else truth.cut(len(result))
        material = Material(result, driven, case.speech, self.mask, truth, out, chunk_frames=self.options.chunk_frames)
        for collector in self.collectors:
            collector.add(case.protocol, result.crops[driven.seen], self.real.crops[self.real.seen])
        rows = [self._row(case, MODEL, self._scored(case, material, own))]
        rows += [self._row(case, name, found) for name, found in self._baselines(case, material, video, own)]
        evidence = Evidence(
            rows[0],
            result.opening,
            case.speech.opening,
            driven.opening,
            loudness_db(case.speech.wave, len(result.opening)),
            strip_jpeg(driven.crops, result.crops),
        )
        for path in (video, out, speech_path):
            if path.parent == self.folder:
                path.unlink()
        return rows, evidence

    def _scored(self, case: Case, material: Material, own: Donor) -> Scores:
        found = score(material, self.judges)
        if case.protocol == "shifted":
            found["lag_frames"] = shifted_lag(material.result, own_speech(own, own.num_steps)) - case.shift_frames
        return found

    def _baselines(self, case: Case, material: Material, video: Path, own: Donor) -> Iterator[tuple[str, Scores]]:
        driven = material.driven
        yield UNTOUCHED, self._scored(case, replace(material, result=driven, path=video, chunk_frames=None), own)
        frozen = frozen_mouth(driven, self.mask)
        yield FROZEN, self._scored(case, replace(material, result=frozen, path=None, chunk_frames=None), own)
        if case.other is not None:
            yield SHUFFLED, sync_scores(material.result, case.other, None, self.judges, material.path)
        real = self.real.cut(len(driven))
        back = there_and_back(real)
        ceiling = replace(
            material, result=back, driven=real, speech=_own_sound(own, real), path=self.clip.path, chunk_frames=None
        )
        yield REAL, _without_trivial(score(ceiling, self.judges))

    def _row(self, case: Case, system: str, scores: Scores) -> Row:
        return Row(case.protocol, system, self.clip.clip_id, self.clip.person, case.speech.pieces, scores)


def _own_sound(own: Donor, real: Watched) -> Speech:
    return own_speech(own, len(real.opening))


def _without_trivial(scores: Scores) -> Scores:
    """A clip compared with itself follows itself perfectly and leaks itself: such figures say nothing."""
    return {
        name: value
        for name, value in scores.items()
        if name not in ("cross_r", "cross_chance", "lag_frames", "width_r", "leakage_r", "leakage", "lmd_pct")
    }


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
