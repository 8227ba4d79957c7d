"""`latentsync batch JOBS -o OUT`: many films, one after the other or beside each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from latentsync.cli.arguments import (
    Device,
    Dtype,
    FaceModel,
    Json,
    Offline,
    Overwrite,
    Quiet,
    Verbose,
    new_app,
)
from latentsync.core.errors import ConfigError, LatentSyncError, MediaError, MissingExtraError

app = new_app()


@app.command()
def batch(
    jobs: Annotated[
        Path,
        typer.Argument(metavar="JOBS", help="A .csv or .jsonl (video, audio, out, …), or a folder of pairs."),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for the results and the report.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option for all films, as seed=3; repeat.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|FOLDER|FILE", help="Model of rows that name none.")] = "tiny",
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Films at once on each device.")] = 1,
    engine: Annotated[str, typer.Option(metavar="local|ray", help="Processes, or actors of a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster. Default: one on this machine.")
    ] = None,
    ray_gpus: Annotated[float, typer.Option(metavar="X", help="Share of a GPU for each Ray worker.")] = 0.0,
    scores: Annotated[bool, typer.Option("--scores", help="Also score each result; slower.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also run films again that failed before.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    face_model: FaceModel = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Lip-sync many films. One that fails does not stop the others; the same command goes on after a break."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal

    try:
        import sqlalchemy  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("serve", "sqlalchemy") from error
    if not jobs.exists():
        raise MediaError(f"{jobs}: no such file or folder. Check the path.")
    from latentsync.config.loader import parse_value
    from latentsync.serve.batch import check_folder, read_batch
    from latentsync.serve.batch_report import write_report
    from latentsync.serve.batch_run import Batch
    from latentsync.serve.server import engine_of
    from latentsync.serve.settings import ServeConfig

    changes = {}
    for word in set_ or ():
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError("set", word, "write key=value")
        changes[key] = value if key in ("face", "audio_track", "mix") else parse_value(value)
    items = read_batch(jobs)
    check_folder(out)
    names = tuple(dict.fromkeys([model, *(item.model for item in items if item.model)]))
    config = ServeConfig(
        data=out / ".batch", models=names, devices=(device,), workers=workers, engine=engine,  # type: ignore[arg-type]
        ray_address=ray_address, ray_gpus=ray_gpus, offline=offline, face_model=face_model, dtype=dtype,
    )  # fmt: skip
    console = stderr_console()
    with logging_to(console, quiet, verbose), stop_on_signal() as stop, progress_on(console, quiet) as progress:
        work = Batch(config, out)
        extras = ["preview", "strip", *(["report"] if scores else [])]
        made = work.put_in(items, changes, extras, retry, overwrite)
        try:
            work.run([job for _, job in made if isinstance(job, str)], progress, stop, engine_of)
        finally:
            page, lines = write_report(work, made)
    failed = [line for line in lines if line["state"] != "done"]
    if as_json:
        sys.stdout.write(json.dumps({"report": str(page), "films": lines}) + "\n")
    elif not quiet:
        sys.stdout.write(f"{page}\n  {len(lines) - len(failed)} of {len(lines)} films done\n")
    if failed:
        raise LatentSyncError(f"{len(failed)} of {len(lines)} films failed; the reasons are in {page}")
