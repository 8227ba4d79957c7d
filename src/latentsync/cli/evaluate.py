"""`latentsync evaluate CLIPS -o FOLDER`: score a model on people, beside baselines, into a report."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentsync.cli.arguments import (
    Device,
    Dtype,
    FaceModel,
    Json,
    Model,
    Offline,
    Overwrite,
    Quiet,
    Verbose,
    choice,
    new_app,
)
from latentsync.config import options as kinds
from latentsync.core.errors import ConfigError, LatentSyncError, MediaError
from latentsync.core.files import refuse_unwritable

if TYPE_CHECKING:
    from latentsync.evaluation.protocols import Protocol
    from latentsync.evaluation.suite import SuiteOptions, SuiteResult

log = logging.getLogger(__name__)
app = new_app()

FEATURES_PX = {"FID": 299, "FVD": 224}
"""Sides that the usual networks of the two distances were trained at."""


@app.command()
def evaluate(
    clips: Annotated[
        Path,
        typer.Argument(
            metavar="CLIPS",
            help="Folder of videos with speech (a sub-folder per person), a CSV list: file, person, sha256, phones, or "
            "one video.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the report.")],
    model: Model = "tiny",
    adapter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A speaker's adapter (`latentsync train unet`).")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="reconstruction|cross|silent|shifted", help="What to do; may be given several times. Default: all."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides who speaks over whom, and the model's noise.")] = 0,
    max_clips: Annotated[
        int | None, typer.Option(metavar="N", help="Use N clips, spread over the people. Default: all.")
    ] = None,
    max_frames: Annotated[int, typer.Option(metavar="N", help="Frames used of each clip.")] = 500,
    shift: Annotated[int, typer.Option(metavar="FRAMES", help="Delay of the shifted protocol, in 1/25 s.")] = 5,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Denoising steps. Default: the checkpoint's.")] = None,
    silence: Annotated[str | None, choice("silence", kinds.Silence, "The mouth where nobody speaks.")] = None,
    judge: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Our SyncNet: a folder or checkpoint. Default: none.")
    ] = None,
    judge_config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Its configuration. Default: the folder's, or 16_pixel_attn."),
    ] = None,
    syncnet_v2: Annotated[
        Path | None, typer.Option(metavar="FILE", help="syncnet_v2.model, for LSE-C and LSE-D. Default: none.")
    ] = None,
    fid_network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript picture network for FID. Default: none.")
    ] = None,
    fvd_network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript video network for FVD. Default: none.")
    ] = None,
    feature_network: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TorchScript network of feature maps for a perceptual distance."),
    ] = None,
    keep_videos: Annotated[bool, typer.Option("--keep-videos", help="Keep the results in FOLDER/videos.")] = False,
    write_list: Annotated[
        bool,
        typer.Option("--write-list", help="Also write clips.csv with content hashes, to run the same clips again."),
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    face_model: FaceModel = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a model: sync, leakage, sharpness, identity and steadiness, beside baselines, with intervals.

    Writes report.html (the worst clips first), report.json and scores.csv. Exit code 1 where a clip could not be done.
    """
    if max_clips is not None and max_clips < 1:
        raise ConfigError("max_clips", max_clips, "choose 1 or more")
    sync = {"steps": steps} | ({} if silence is None else {"silence": silence})
    kinds.SyncOptions(**sync)  # type: ignore[arg-type]  # refuses before anything is loaded
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out}: is a file. Give a folder for the report")
    if (out / "report.json").exists() and not overwrite:
        raise MediaError(f"{out}: holds a report. Choose another folder, or pass --overwrite")
    job = _Job(
        clips,
        out,
        {"model": model, "device": device, "dtype": dtype, "offline": offline, "face_model": face_model,
         "adapter": adapter},
        _options(protocol, seed, shift, max_frames, out / "videos" if keep_videos else None),
        {"own": judge, "own_config": judge_config, "v2": syncnet_v2, "perceptual": feature_network},
        {"FID": fid_network, "FVD": fvd_network},
        sync,
        max_clips,
        write_list,
        protocols_given=bool(protocol),
    )  # fmt: skip
    result, paths = run(job, quiet, verbose)
    show(result, paths, as_json, quiet)
    if result.failed:
        raise typer.Exit(1)


def _options(
    protocols: list[str] | None, seed: int, shift: int, max_frames: int, keep_folder: Path | None
) -> SuiteOptions:
    from latentsync.evaluation.protocols import PROTOCOLS
    from latentsync.evaluation.suite import SuiteOptions

    return SuiteOptions(
        protocols=tuple(protocols) if protocols else PROTOCOLS,  # type: ignore[arg-type]
        seed=seed,
        shift_frames=shift,
        max_frames=max_frames,
        keep_folder=keep_folder,
    )


@dataclass(frozen=True)
class _Job:
    clips: Path
    out: Path
    load: dict[str, Any]
    options: SuiteOptions
    judges: dict[str, Any]
    features: dict[str, Path | None]
    sync: dict[str, Any]
    max_clips: int | None
    write_list: bool
    protocols_given: bool


def _possible(job: _Job, num_people: int) -> tuple[Protocol, ...]:
    """The protocols, without that of other people's speech where there is one person and nobody asked for it."""
    if num_people > 1 or job.protocols_given:
        return job.options.protocols
    log.warning("all clips are of one person: protocol cross, other people's speech, is left out")
    return tuple(each for each in job.options.protocols if each != "cross")


def run(job: _Job, quiet: bool, verbose: bool) -> tuple[SuiteResult, dict[str, Path]]:
    """Load what is asked for, run the suite, write the report. Nothing is written before the suite is done."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.core.progress import check
    from latentsync.evaluation import clips as lists
    from latentsync.evaluation import networks, report, suite
    from latentsync.evaluation.distributions import Collector
    from latentsync.faces import MeshTracker

    console = stderr_console()
    with logging_to(console, quiet, verbose), stop_on_signal() as stop:
        chosen = lists.spread(lists.clips_of(job.clips), job.max_clips)
        protocols = _possible(job, len({clip.person for clip in chosen}))
        judges = networks.load_judges(**job.judges)
        collectors = [
            Collector(kind, networks.feature_network(path), FEATURES_PX[kind])  # type: ignore[arg-type]
            for kind, path in job.features.items()
            if path is not None
        ]
        tracker = MeshTracker(model_folder=job.load["face_model"], offline=job.load["offline"])
        from latentsync.pipeline import Lipsync

        lipsync = Lipsync.from_pretrained(**job.load)
        check(stop)
        made = kinds.SyncOptions(**job.sync, seed=job.options.seed, length="audio", keep_audio="encode")

        def drive(video: Path, speech: Path, target: Path) -> None:
            lipsync(video, speech, target, options=made, stop=stop)

        own = lipsync.settings
        chunk = own.num_frames - own.overlap_frames
        options = replace(job.options, protocols=protocols, mask=own.mask, chunk_frames=chunk)
        with _folder_for(job), progress_on(console, quiet) as progress:
            result = suite.run_suite(chosen, drive, tracker, options, judges, collectors, progress, stop)
            if not result.rows:
                clip, protocol, why = result.failed[0]
                raise LatentSyncError(f"no clip could be scored; the first, {clip} ({protocol}): {why}")
        about = {
            "model": job.load["model"],
            "adapter": str(job.load["adapter"] or "none"),
            "steps": made.steps or "the checkpoint's",
            "silence": made.silence or own.silence,
            "judges": judges.names or "none",
        }
        paths = report.write_report(result, job.out, about)
        if job.write_list:
            paths["clips.csv"] = job.out / "clips.csv"
            lists.write_list(chosen, paths["clips.csv"])
    return result, paths


@contextmanager
def _folder_for(job: _Job) -> Iterator[None]:
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


def show(result: SuiteResult, paths: dict[str, Path], as_json: bool, quiet: bool) -> None:
    """Print the model's means by protocol, or everything as JSON."""
    from latentsync.evaluation.report import tables
    from latentsync.evaluation.scoring import ABOUT
    from latentsync.evaluation.suite import MODEL

    found = tables(result.rows)
    if as_json:
        answer = {
            "tables": {
                protocol: {name: {s: asdict(cell) for s, cell in row.items()} for name, row in table.items()}
                for protocol, table in found.items()
            },
            "failed": [{"clip": clip, "protocol": protocol, "why": why} for clip, protocol, why in result.failed],
            "paths": {name: str(path) for name, path in paths.items()},
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    elif not quiet:
        for title, table in found.items():
            sys.stdout.write(f"{title}\n")
            for name, row in table.items():
                if MODEL in row:
                    sys.stdout.write(
                        f"  {name:<22}{row[MODEL].mean:>8.3f}  [{row[MODEL].low:.3f}, {row[MODEL].high:.3f}]"
                    )
                    sys.stdout.write(f"  {ABOUT[name].label}\n")
        sys.stdout.write(f"{paths['report.html']}\n")
        for clip, protocol, why in result.failed:
            sys.stderr.write(f"not done: {clip}, {protocol}: {why}\n")
