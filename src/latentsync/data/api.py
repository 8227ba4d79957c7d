"""Build a training set from raw videos: the whole pipeline on one page."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.core.files import atomic_path, write_text
from latentsync.core.progress import ProgressCallback, StopFlag, never, silent
from latentsync.data.clip import Clip, Source, dumps
from latentsync.data.manifest import MANIFEST, check_installed, read_manifest, rows_of, write_manifest
from latentsync.data.runners.base import INTERNAL, Engine, Plan, SerialEngine, Tally, drive
from latentsync.data.settings import DataSettings, SplitSettings
from latentsync.data.sources import Speaker, begin, find_sources
from latentsync.data.split import as_given
from latentsync.data.stages import Stage, make_stages
from latentsync.data.stages.quality import make_scorer
from latentsync.data.stages.sync import make_judge
from latentsync.data.stages.write import ABOUT
from latentsync.data.workspace import Workspace, claimed
from latentsync.faces import MeshTracker
from latentsync.faces.protocol import FaceTracker

log = logging.getLogger(__name__)

EngineName = Literal["local", "ray", "serial"]
ABOUT_RUN = "build.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How to build: nothing here changes what comes out, but `speaker` and `given_split` (who goes where).

    Attributes:
        engine: processes of this machine, a Ray cluster, or this process alone.
        workers: processes; None = one a core.
        ray_address: of a running cluster; None = a local one for this run.
        speaker: who speaks, see `Speaker`.
        leave_out: glob patterns of sources to pass over.
        given_split: identity → train, val or test, for those who must be there.
        tracker: makes the face tracker in each worker.
    """

    engine: EngineName = "local"
    workers: int | None = None
    ray_address: str | None = None
    speaker: Speaker = field(default_factory=Speaker)
    leave_out: tuple[str, ...] = ()
    given_split: Mapping[str, str] = field(default_factory=dict)
    tracker: Callable[[], FaceTracker] = MeshTracker

    @property
    def num_workers(self) -> int:
        at_hand = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or at_hand


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build came to: every line of the manifest, and what this run did."""

    folder: Path
    rows: list[dict[str, Any]]
    tally: Tally

    @property
    def num_kept(self) -> int:
        return sum(row["kept"] for row in self.rows)

    @property
    def num_failed(self) -> int:
        """Clips that our own bug, not the clip, kept from being finished."""
        return sum(row["reason"] == INTERNAL for row in self.rows)


def build(
    inputs: str | Path,
    out: Path,
    settings: DataSettings | None = None,
    options: BuildOptions | None = None,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> BuildResult:
    """Turn raw videos into clips and a manifest in `out`. Run again, it goes on where it was, or redoes what a changed
    setting asks for. Inputs are only read.

    Raises: ConfigError: the extra `data` is not installed. LatentSyncError: nothing to do, the folder is in use or
        cannot be written, a network's file does not fit.
        Stopped: on request; what is done stays done.
    """
    settings, options = (settings or DataSettings()).resolved(), options or BuildOptions()
    check_installed()
    sources, workspace = _begin(inputs, out, options)
    stages = make_stages(settings, options.tracker)
    _try_networks(settings)
    with claimed(workspace):
        clips = begin(sources, workspace, options.num_workers)
        ended, tally = _drive(clips, Plan(stages, workspace), options, progress, stop)
        parts = as_given([clip.source.identity for clip in kept_clips(ended)], options.given_split, settings.split)
        rows = rows_of(ended, stages, parts)
        finish(workspace, rows, settings)
        _tell_run(workspace, str(inputs), tally, options)
    return BuildResult(workspace.root, rows, tally)


def run_stages(
    inputs: str | Path,
    out: Path,
    stages: Sequence[Stage],
    options: BuildOptions | None = None,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> list[Clip]:
    """Take raw videos through some stages alone, the pipeline's (`make_stages`) or one's own.

    What is done is kept in `out`, a folder of its own, and not done again. No manifest is written. An engine of several
    processes needs stages that can be pickled.

    Returns: every clip at its end, with its scores and facts; `rejected` says why one went no further.
    Raises: LatentSyncError: see `build`.
    """
    options = options or BuildOptions(engine="serial")
    sources, workspace = _begin(inputs, out, options)
    with claimed(workspace):
        clips = begin(sources, workspace, options.num_workers)
        return _drive(clips, Plan(tuple(stages), workspace), options, progress, stop)[0]


def _begin(inputs: str | Path, out: Path, options: BuildOptions) -> tuple[list[Source], Workspace]:
    sources = find_sources(str(inputs), options.speaker, options.leave_out)
    workspace = Workspace(out.absolute())
    others = [source for source in sources if not Path(source.path).is_relative_to(workspace.root)]
    if len(others) < len(sources) and not (others and workspace.work.is_dir()):
        raise LatentSyncError(f"{out}: holds inputs. Choose an output folder outside of them.")
    return others, workspace  # a build that lies among its inputs is none of them


def _drive(
    clips: Sequence[Clip], plan: Plan, options: BuildOptions, progress: ProgressCallback, stop: StopFlag
) -> tuple[list[Clip], Tally]:
    """Every clip at its end, those that were rejected before the first stage too."""
    engine = make_engine(plan, options)
    ended, tally = drive(plan, [clip for clip in clips if clip.rejected is None], engine, progress, stop)
    return ended + [clip for clip in clips if clip.rejected is not None], tally


def _try_networks(settings: DataSettings) -> None:
    """Load the judge and the scorer once, so that a wrong file is reported now and not after hours of other work."""
    if settings.sync.judge != "lips" or settings.sync.judge_v2 is not None:
        make_judge(settings.sync)
    make_scorer(settings.quality.scorer)


def finish(workspace: Workspace, rows: list[dict[str, Any]], settings: DataSettings) -> None:
    """Bring the output folder in line with the manifest's lines, the manifest last."""
    kept = {row["clip_id"] for row in rows if row["kept"]}
    for folder in workspace.clips.iterdir():
        if folder.name not in kept and (folder / ABOUT).is_file():  # kept under earlier settings; its steps stay known
            folder.replace(workspace.scratch(".old"))
    _sweep(workspace)
    if settings.write.training:
        for row in rows:
            if row["kept"]:
                _write_meta(workspace.clips / row["clip_id"] / "meta.json", row)
    write_text(workspace.root / "settings.json", json.dumps(settings.as_dict(), indent=1, ensure_ascii=False) + "\n")
    write_manifest(workspace.root / MANIFEST, rows, settings.as_dict())


def _write_meta(path: Path, row: Mapping[str, Any]) -> None:
    """What training asks of a clip, written last: a folder with it is complete."""
    meta = {"person": row["identity"], "split": row["split"], "in_sync": row["in_sync"], "fps": 25}
    meta["source"] = row["source"]
    text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
    if path.is_file() and path.read_text("utf-8") == text:
        return
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def resplit(folder: Path, split: SplitSettings, given: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Deal the identities of a finished build anew; only the manifest and the meta.json files are written.

    Raises: MediaError: there is no build. ConfigError: an identity that is given a part does not exist.
        LatentSyncError: no clip was kept.
    """
    rows, described = read_manifest(folder)
    if not any(row["kept"] for row in rows):
        raise LatentSyncError(f"{folder}: no clip of it was kept. `latentsync data report` tells the reasons")
    given = given or {}
    unknown = set(given) - {row["identity"] for row in rows}
    if unknown:
        raise ConfigError("given", sorted(unknown)[0], "no such identity in the manifest")
    parts = as_given([row["identity"] for row in rows if row["kept"]], given, split)
    for row in rows:
        row["split"] = parts[row["identity"]] if row["kept"] else ""
    described["split"] = {"val": split.val, "test": split.test, "seed": split.seed}
    workspace = Workspace(folder.absolute())
    with claimed(workspace):
        for row in rows:
            meta = workspace.clips / row["clip_id"] / "meta.json"
            if row["kept"] and meta.is_file():
                _write_meta(meta, row)
        write_manifest(folder / MANIFEST, rows, described)
    return rows


def make_engine(plan: Plan, options: BuildOptions) -> Engine:
    """The engine that the options name. Raises: ConfigError: it is not installed or unknown."""
    if options.engine == "serial":
        return SerialEngine(plan)
    if options.engine == "local":
        from latentsync.data.runners.local import LocalEngine

        return LocalEngine(plan, options.num_workers)
    if options.engine == "ray":
        from latentsync.data.runners.ray import RayEngine

        return RayEngine(plan, options.num_workers, options.ray_address)
    raise ConfigError("engine", options.engine, "choose local, ray or serial")


def kept_clips(ended: list[Clip]) -> list[Clip]:
    """Those that went through every stage."""
    return [clip for clip in ended if clip.rejected is None]


def _sweep(workspace: Workspace) -> None:
    import shutil

    shutil.rmtree(workspace.work / "scratch", ignore_errors=True)


def _tell_run(workspace: Workspace, inputs: str, tally: Tally, options: BuildOptions) -> None:
    """How long this run took, by stage: not in the manifest, which is the same for every run."""
    described = {
        "inputs": inputs if "://" in inputs else str(Path(inputs).absolute()),
        "engine": options.engine,
        "workers": options.num_workers,
        "wall_s": round(tally.wall_s, 2),
        "stages": {
            name: {
                "steps": tally.done[name],
                "seconds": round(tally.seconds[name], 3),
                "cpu_s": round(tally.cpu_s[name], 3),
                "frames": tally.frames[name],
            }
            for name in tally.done
        },
        "found_done": dict(tally.skipped),
    }
    with atomic_path(workspace.root / ABOUT_RUN) as part:
        part.write_text(dumps(described) + "\n", encoding="utf-8")
