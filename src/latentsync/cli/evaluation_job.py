"""What `latentsync evaluate` does: clips with people, methods with judges, then the suite and its report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.config import options as kinds
from latentsync.core.errors import LatentSyncError
from latentsync.core.files import refuse_unwritable

if TYPE_CHECKING:
    from latentsync.core.progress import ProgressCallback, StopFlag
    from latentsync.evaluation.clips import TestClip
    from latentsync.evaluation.distributions import Collector
    from latentsync.evaluation.methods import Driver, Method
    from latentsync.evaluation.protocols import Protocol
    from latentsync.evaluation.results import SuiteOptions, SuiteResult
    from latentsync.faces.protocol import FaceTracker
    from latentsync.pipeline import Lipsync

log = logging.getLogger(__name__)

FEATURES_PX = {"FID": 299, "FVD": 224}
"""Sides that the usual networks of the two distances were trained at."""
WORK = ".work"
"""Below the report's folder: scores that are done, for the next run."""


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """What the command was asked for."""

    clips: Path
    out: Path
    models: tuple[str, ...]
    results: tuple[str, ...]
    speaker: str | None
    load: dict[str, Any]
    options: SuiteOptions
    judges: dict[str, Any]
    features: dict[str, Path | None]
    sync: dict[str, Any]
    max_clips: int | None
    write_list: bool
    protocols_given: bool
    latex: bool
    blind: bool


def _clips(job: EvaluationJob, tracker: FaceTracker, progress: ProgressCallback) -> list[TestClip]:
    """The clips asked for, each with a person."""
    from latentsync.data.sources import Speaker
    from latentsync.evaluation import clips as lists
    from latentsync.evaluation.people import grouped_by_face

    found = lists.clips_of(job.clips, None if job.speaker is None else Speaker(job.speaker))
    unknown = sum(clip.person == lists.UNKNOWN for clip in found)
    if unknown:
        found = grouped_by_face(found, tracker, progress)
        if unknown > 1:
            log.info(
                "%d clips lie in no folder of a person: distinguished by their faces, %d people in all. --speaker or a "
                "sub-folder for each says it surely",
                unknown,
                len({clip.person for clip in found}),
            )
    return lists.spread(found, job.max_clips)


def _possible(job: EvaluationJob, clips: Sequence[TestClip]) -> tuple[Protocol, ...]:
    """The protocols that were asked for; else the usual ones for a model, and those that results have videos of.

    Cross-driving is left out where there is one person and nobody asked for it.
    """
    from latentsync.evaluation.methods import result_of
    from latentsync.evaluation.protocols import ALL_PROTOCOLS

    if job.protocols_given:
        return job.options.protocols
    folders = [Path(entry.partition("=")[2]).expanduser() for entry in job.results]
    there = {
        protocol
        for protocol in ALL_PROTOCOLS
        if any(result_of(folder, clip, protocol, clips) for folder in folders for clip in clips)
    }
    wanted = there | set(job.options.protocols if job.models or not there else ())
    if len({clip.person for clip in clips}) == 1 and "cross" in wanted:
        log.warning("all clips are of one person: protocol cross, other people's speech, is left out")
        wanted.discard("cross")
    return tuple(each for each in ALL_PROTOCOLS if each in wanted)


def write_inputs(job: EvaluationJob, quiet: bool, verbose: bool) -> Path:
    """Write what the suite would drive into the folder, and a list of it."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.evaluation.suite import prepare_inputs
    from latentsync.faces import MeshTracker

    console = stderr_console()
    with logging_to(console, quiet, verbose), stop_on_signal() as stop, progress_on(console, quiet) as progress:
        tracker = MeshTracker(model_folder=job.load["face_model"], offline=job.load["offline"])
        clips = _clips(job, tracker, progress)
        options = replace(job.options, protocols=_possible(job, clips))
        job.out.mkdir(parents=True, exist_ok=True)
        refuse_unwritable(job.out / "inputs.csv")
        return prepare_inputs(clips, tracker, job.out, options, progress, stop)


def run(job: EvaluationJob, quiet: bool, verbose: bool) -> tuple[SuiteResult, dict[str, Path]]:
    """Load what is asked for, run the suite, write the report. No report is written before the suite is done."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.core.progress import check
    from latentsync.evaluation import clips as lists
    from latentsync.evaluation import methods, networks, report, suite
    from latentsync.evaluation.blind import two_of
    from latentsync.faces import MeshTracker

    console = stderr_console()
    with logging_to(console, quiet, verbose), stop_on_signal() as stop:
        tracker = MeshTracker(model_folder=job.load["face_model"], offline=job.load["offline"])
        with progress_on(console, quiet) as progress:
            chosen = _clips(job, tracker, progress)
        protocols = _possible(job, chosen)
        others = methods.parse_results(job.results, chosen, protocols)
        judges = networks.load_judges(**job.judges, lips=True, public=True)
        missing = dict(judges.missing)
        collectors = _collectors(job, missing)
        check(stop)
        own, mask = _models(job, stop)
        options = replace(job.options, protocols=protocols, mask=mask or job.options.mask)
        judges = replace(judges, missing=missing)
        everyone = [*own, *others]
        if job.blind:
            two_of([method.name for method in everyone])
        with _folder_for(job), progress_on(console, quiet) as progress:
            result = suite.run_suite(
                chosen, everyone, tracker, options, judges, collectors, progress, stop, keep=job.out / WORK
            )
            names = set(result.methods)
            if not any(row.system in names for row in result.rows):
                clip, protocol, why = result.failed[0]
                raise LatentSyncError(f"no clip could be scored; the first, {clip} ({protocol}): {why}")
        about = {
            "methods": ", ".join(result.methods),
            "adapter": str(job.load["adapter"] or "none"),
            "settings": "; ".join(method.settings for method in own) or "none",
            "judges": ", ".join(judges.names) or "none",
        }
        paths = report.write_report(result, job.out, about, job.latex)
        if job.blind:
            paths["blind.html"] = _blind(job, chosen, everyone, protocols)
        if job.write_list:
            paths["clips.csv"] = job.out / "clips.csv"
            lists.write_list(chosen, paths["clips.csv"])
    return result, paths


def _blind(
    job: EvaluationJob, clips: Sequence[TestClip], methods: Sequence[Method], protocols: Sequence[Protocol]
) -> Path:
    """The page of all cases that both methods have a video of; silence says nothing about words."""
    from latentsync.evaluation.blind import Pair, two_of, write_blind
    from latentsync.evaluation.methods import result_of

    def video(method: Method, clip: TestClip, protocol: Protocol) -> Path | None:
        kept = job.options.keep_folder
        if method.folder is None and kept is not None:
            several = kept / method.name
            return result_of(several if several.is_dir() else kept, clip, protocol, clips)
        return method.find(clip, protocol, clips)

    pairs = []
    for clip in clips:
        for protocol in protocols:
            first, second = (video(method, clip, protocol) for method in methods)
            if protocol != "silent" and first is not None and second is not None:
                pairs.append(Pair(f"{clip.clip_id}, {protocol}", first, second))
    return write_blind(job.out, two_of([method.name for method in methods]), pairs, job.options.seed)


def _collectors(job: EvaluationJob, missing: dict[str, str]) -> list[Collector]:
    from latentsync.evaluation.distributions import Collector
    from latentsync.evaluation.networks import feature_network, public_features

    made = []
    for kind, given in job.features.items():
        path = public_features(kind, given, missing)
        if path is not None:
            made.append(Collector(kind, feature_network(path), FEATURES_PX[kind]))  # type: ignore[arg-type]
    return made


def _models(job: EvaluationJob, stop: StopFlag) -> tuple[list[Method], str | None]:
    """The models as methods, and the mask of the first one, whose region all are scored in."""
    from latentsync import __version__
    from latentsync.evaluation.methods import Method
    from latentsync.pipeline import Lipsync

    made: list[Method] = []
    mask = None
    for name in job.models:
        lipsync = Lipsync.from_pretrained(model=name, **job.load)
        options = kinds.SyncOptions(**job.sync, seed=job.options.seed, length="audio", keep_audio="encode")
        own = lipsync.settings
        mask = mask or own.mask
        adapter = job.load["adapter"]
        words = {
            "model": name,
            "weights": weights_digest(name),
            "adapter": "none" if adapter is None else weights_digest(str(adapter)),
            "steps": options.steps or "the checkpoint's",
            "silence": options.silence or own.silence,
            "latentsync": __version__,
        }
        settings = ", ".join(f"{key} {value}" for key, value in words.items())
        column = Path(name).stem if Path(name).exists() else name
        driver = _driver(lipsync, options, stop)
        made.append(Method(column, driver=driver, chunk_frames=own.num_frames - own.overlap_frames, settings=settings))
    return made, mask


def _driver(lipsync: Lipsync, options: kinds.SyncOptions, stop: StopFlag) -> Driver:
    def drive(video: Path, speech: Path, target: Path) -> None:
        lipsync(video, speech, target, options=options, stop=stop)

    return drive


def weights_digest(name: str) -> str:
    """Something that is another one where the weights are: of the index of a folder, which holds all hashes, or the
    size and time of a file; of a released model its name."""
    from importlib import resources

    path = Path(name) if Path(name).exists() else Path(str(resources.files("latentsync") / "assets" / name))
    index = path / "model_index.json" if path.is_dir() else path
    if not index.is_file():
        return name
    if path.is_file():
        stat = path.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"
    from latentsync.core.hashing import file_sha256

    return file_sha256(index)[:12]


@contextmanager
def _folder_for(job: EvaluationJob) -> Iterator[None]:
    """The folder of the report, and of kept videos; new ones that a failed run leaves empty are taken away again."""
    wanted = [each for each in (job.out, job.options.keep_folder) if each is not None]
    new = [each for each in wanted if not each.exists()]
    try:
        for each in wanted:
            each.mkdir(parents=True, exist_ok=True)
            refuse_unwritable(each / ("report.html" if each == job.out else "videos"))
        yield
    except BaseException:
        for each in reversed(new):
            with suppress(OSError):  # something lies in it
                each.rmdir()
        raise
