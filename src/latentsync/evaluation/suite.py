"""Run a suite: every clip through every protocol, by every method and beside the baselines, into rows of scores."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from latentsync.core.errors import EmptyAudioError, LatentSyncError, Stopped
from latentsync.core.files import atomic_path, temporary_folder, without_temporary
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.evaluation.bench import Bench, write_inputs
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.distributions import Collector, Gathered
from latentsync.evaluation.keep import Keep, Kept, key_of
from latentsync.evaluation.methods import Method, refuse_names
from latentsync.evaluation.mouths import KIND, GatheredMouths
from latentsync.evaluation.protocols import MIN_STEPS, Case, cases_of
from latentsync.evaluation.results import FROZEN, REAL, UNTOUCHED, SuiteOptions, SuiteResult
from latentsync.evaluation.scoring import Judges
from latentsync.evaluation.speech import Donor
from latentsync.evaluation.watching import measure
from latentsync.faces.protocol import FaceTracker
from latentsync.media.audio import read_audio

log = logging.getLogger(__name__)


def run_suite(
    clips: Sequence[TestClip],
    methods: Sequence[Method],
    tracker: FaceTracker,
    options: SuiteOptions | None = None,
    judges: Judges | None = None,
    collectors: Sequence[Collector] = (),
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
    *,
    keep: Path | None = None,
) -> SuiteResult:
    """Drive every clip by every protocol and method, and score the results and the baselines.

    One clip's crops are held at a time. A clip or case that cannot be done (no face, no sound, the model refuses, a
    method has no video of it) is listed in `failed` and the suite goes on; our own bugs fly.

    Args: keep: folder for scores that are done; a later run with the same clips, methods and options takes them.
    Raises: ConfigError: cross-driving with one person, two methods of one name. Stopped: the stop flag.
    """
    options, judges, store = options or SuiteOptions(), judges or Judges(), Keep(keep)
    refuse_names(methods, (UNTOUCHED, FROZEN, REAL))
    result = SuiteResult(
        list(clips), options, methods=[method.name for method in methods], missing=dict(judges.missing)
    )
    donors = _donors(clips, tracker, options, store, result, progress, stop)
    by_person = _by_person(clips, donors)
    usable = [clip for clip in clips if clip.clip_id in donors]
    done, total = 0, len(usable) * len(options.protocols)
    gathered, mouths = Gathered(), GatheredMouths()
    with temporary_folder() as folder:
        for clip in usable:
            own = donors[clip.clip_id]
            bench = Bench(clip, own, tracker, options, judges, collectors, folder, len(methods) > 1)
            for case in cases_of(clip, options.protocols, by_person, own, options.seed, options.shift_frames):
                check(stop)
                progress(Progress("drive", done, total, "cases"))
                for method in (None, *methods):
                    check(stop)
                    _add(result, gathered, mouths, case, _one(bench, case, method, store, result, clips))
                bench.clear()
                done += 1
    progress(Progress("drive", total, total, "cases"))
    result.distributions = gathered.results({collector.kind: collector.network.name for collector in collectors})
    result.mouths = mouths.lines()
    return result


def prepare_inputs(
    clips: Sequence[TestClip],
    tracker: FaceTracker,
    out: Path,
    options: SuiteOptions,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> Path:
    """Write what a suite would drive, for methods that run elsewhere: PROTOCOL/CLIP.mkv or .mp4, PROTOCOL/CLIP.wav.

    Returns: `inputs.csv` in `out`, with the columns protocol, clip, person, video, speech and result: where the
        method's video belongs, below the folder that `--results` takes.
    Raises: as `run_suite`.
    """
    result = SuiteResult(list(clips), options)
    donors = _donors(clips, tracker, options, Keep(None), result, progress, stop)
    if result.failed:
        name, _, why = result.failed[0]
        raise LatentSyncError(f"{name}: {why}")
    by_person = _by_person(clips, donors)
    lines: list[Sequence[str]] = [("protocol", "clip", "person", "video", "speech", "result")]
    for done, clip in enumerate(clips):
        progress(Progress("write", done, len(clips), "clips"))
        bench = Bench(clip, donors[clip.clip_id], tracker, options, Judges(), (), out)
        for case in cases_of(
            clip, options.protocols, by_person, donors[clip.clip_id], options.seed, options.shift_frames
        ):
            check(stop)
            video, speech = write_inputs(bench, case, out)
            names = [path.relative_to(out).as_posix() for path in (video, speech)]
            made = f"{case.protocol}/{clip.clip_id}.mp4"
            lines.append((case.protocol, clip.clip_id, clip.person, *names, made))
    path = out / "inputs.csv"
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def _one(
    bench: Bench, case: Case, method: Method | None, store: Keep, result: SuiteResult, clips: Sequence[TestClip]
) -> Kept | None:
    """A method's scores of one case, or with None the baselines': kept ones, or done now."""
    who = "" if method is None or len(result.methods) == 1 else f"{method.name}: "
    try:
        video = None if method is None else method.find(case.clip, case.protocol, clips)
        if method is not None and method.driver is None and video is None:
            raise LatentSyncError(f"no video of it in {method.folder}")
        key = _key(bench, case, method, video, result)
        kept = store.load(key)
        if kept is None:
            kept = bench.baselines(case) if method is None else bench.run(case, method, video)
            store.save(key, kept)
    except Stopped:
        raise
    except LatentSyncError as error:
        failed = case.clip.clip_id, case.protocol, who + without_temporary(str(error))
        if failed not in result.failed:
            log.warning("%s, %s: %s", *failed)
            result.failed.append(failed)
        return None
    return kept


def _key(bench: Bench, case: Case, method: Method | None, video: Path | None, result: SuiteResult) -> str:
    options = asdict(result.options)
    for other in ("protocols", "keep_folder", "seed"):
        options.pop(other)
    changed = None if video is None else (video.stat().st_size, video.stat().st_mtime_ns)
    return key_of(
        clip=case.clip.sha256,
        person=case.clip.person,
        protocol=case.protocol,
        speech=case.speech.digest,
        seed=result.options.seed,
        options=options,
        judges=bench.judges.names,
        collectors=[collector.network.name for collector in bench.collectors],
        mouth=bench.judges.mouth is not None,
        method=None if method is None else (method.name, method.settings, str(video), changed, method.chunk_frames),
        one_of=len(result.methods) == 1,
    )


def _add(result: SuiteResult, gathered: Gathered, mouths: GatheredMouths, case: Case, kept: Kept | None) -> None:
    if kept is None:
        return
    result.rows += kept.rows
    if kept.evidence is not None:
        result.evidence.append(kept.evidence)
    for name, (made, real) in kept.features.items():
        kind, _, system = name.partition("/")
        if kind == KIND:
            mouths.add(case.protocol, system, case.clip.person, case.clip.clip_id, made, real)
        else:
            gathered.add(kind, case.protocol, system, made, real)


def _by_person(clips: Sequence[TestClip], donors: dict[str, Donor]) -> dict[str, list[Donor]]:
    found: dict[str, list[Donor]] = {}
    for clip in clips:
        if clip.clip_id in donors:
            found.setdefault(clip.person, []).append(donors[clip.clip_id])
    return found


def _donors(
    clips: Sequence[TestClip],
    tracker: FaceTracker,
    options: SuiteOptions,
    store: Keep,
    result: SuiteResult,
    progress: ProgressCallback,
    stop: StopFlag,
) -> dict[str, Donor]:
    donors: dict[str, Donor] = {}
    for index, clip in enumerate(clips):
        check(stop)
        progress(Progress("listen", index, len(clips), "clips"))
        try:
            donors[clip.clip_id] = _donor(clip, tracker, options.max_frames, store)
        except LatentSyncError as error:
            result.failed.append((clip.clip_id, "all", str(error)))
    progress(Progress("listen", len(clips), len(clips), "clips"))
    return donors


def _donor(clip: TestClip, tracker: FaceTracker, max_frames: int, store: Keep) -> Donor:
    key = key_of(donor=clip.sha256, max_frames=max_frames)
    lips = store.arrays(key)
    if lips is None:
        found = measure(clip.path, tracker, max_frames)
        lips = {"opening": found.opening, "width": found.width}
        store.save_arrays(key, lips)
    donor = Donor(clip.clip_id, read_audio(clip.path), lips["opening"], clip.phones, lips["width"])
    if donor.num_steps < MIN_STEPS:
        raise EmptyAudioError(f"{clip.path}: shorter than {MIN_STEPS / 25:.0f} s. Use a longer clip")
    return donor
