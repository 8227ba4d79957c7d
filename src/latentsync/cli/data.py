"""`latentsync data …`: raw videos to a training set, with a reason for every clip that is left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentsync.cli.arguments import FaceModel, Json, Quiet, Verbose, new_app
from latentsync.core.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from latentsync.data.api import BuildResult

app = new_app(no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a build.")]


@app.callback()
def data() -> None:
    """Turn raw videos into aligned, in-sync clips, with a reason for every clip that is left out."""


@app.command()
def build(
    inputs: Annotated[
        str, typer.Argument(metavar="IN", help="Folder of videos, a list (.txt, .csv, .jsonl), a video, or a URL.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for clips and manifest; run again to go on.")],
    engine: Annotated[str, typer.Option(metavar="local|ray|serial", help="What does the work.")] = "local",
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes. Default: one for each core at hand.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster. Default: one of this machine.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with settings by stage (docs/data.md).")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="PART.KEY=VALUE", help="One setting; may be repeated.")
    ] = None,
    speaker: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Who speaks: this pattern's first group in the name. Default: the list's column, or the folder.",
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Names to pass over; may be repeated.")
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="Also write the arrays that training reads.")] = False,
    face_model: FaceModel = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build a training set in OUT from the videos of IN, which are only read.

    Exit code 1 where no clip was kept, or an internal error kept a clip from being finished.
    """
    if workers is not None and workers < 1:
        raise ConfigError("workers", workers, "choose 1 or more")
    from functools import partial

    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.config.loader import load_preset
    from latentsync.data.api import BuildOptions
    from latentsync.data.api import build as run
    from latentsync.data.settings import data_settings, parse_change
    from latentsync.data.sources import Speaker
    from latentsync.faces import MeshTracker

    from_file = {} if settings is None else load_preset(str(settings), "data")
    made = data_settings(
        from_file, dict(parse_change(change) for change in changes or []), {"write.training": True} if training else {}
    )
    tracker: Any = MeshTracker if face_model is None else partial(MeshTracker, model_folder=face_model)
    options = BuildOptions(
        engine=engine,  # type: ignore[arg-type]
        workers=workers,
        ray_address=ray_address,
        speaker=Speaker(speaker),
        leave_out=tuple(leave_out or ()),
        tracker=tracker,
    )
    console = stderr_console()
    with logging_to(console, quiet, verbose), progress_on(console, quiet) as progress, stop_on_signal() as stop:
        result = run(inputs, out, made, options, progress, stop)
    _show(result, as_json, quiet)
    if not result.num_kept or result.num_failed:
        raise typer.Exit(1)


def _show(result: BuildResult, as_json: bool, quiet: bool) -> None:
    from collections import Counter

    reasons = Counter(f"{row['stage']}: {row['reason']}" for row in result.rows if not row["kept"])
    minutes = sum(row["duration_s"] for row in result.rows if row["kept"]) / 60
    if as_json:
        told = {
            "out": str(result.folder),
            "clips": len(result.rows),
            "kept": result.num_kept,
            "minutes": round(minutes, 3),
            "reasons": dict(reasons.most_common()),
            "wall_s": round(result.tally.wall_s, 2),
        }
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        return
    if quiet:
        return
    sys.stdout.write(f"{result.num_kept} of {len(result.rows)} clips kept, {minutes:.1f} minutes: {result.folder}\n")
    for reason, count in reasons.most_common():
        sys.stdout.write(f"{count:6d}  {reason}\n")


def check_build(folder: Path) -> None:
    """Raises: MediaError: there is no such folder."""
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder. Give the OUT of `latentsync data build`.")
