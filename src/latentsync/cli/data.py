"""`latentsync data …`: raw videos to a training set, with a reason for every clip that is left out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentsync.cli.arguments import FaceModel, Json, Quiet, Verbose, new_app
from latentsync.core.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from latentsync.data.api import BuildResult
    from latentsync.data.settings import DataSettings

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
    syncnet: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Judge of sync: our SyncNet (folder or checkpoint), or syncnet_v2.model."),
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

    if settings is not None and not settings.is_file():
        raise ConfigError("settings", str(settings), "no such file; give a YAML file")
    from_file = {} if settings is None else load_preset(str(settings), "data")
    judge = {} if syncnet is None else {f"sync.judge{'_v2' if syncnet.suffix == '.model' else ''}": str(syncnet)}
    written = {"write.training": True} if training else {}
    made = data_settings(from_file, judge, written, dict(parse_change(change) for change in changes or []))
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
    calm = nullcontext() if verbose else _without_each_file()
    with logging_to(console, quiet, verbose), calm, progress_on(console, quiet) as progress, stop_on_signal() as stop:
        result = run(inputs, out, made, options, progress, stop)
    _show(result, made, as_json, quiet)
    if not result.num_kept or result.num_failed:
        raise typer.Exit(1)


@contextmanager
def _without_each_file() -> Iterator[None]:
    """No line for every crop video that is written."""
    writer = logging.getLogger("latentsync.media.writer")
    before = writer.level
    writer.setLevel(logging.WARNING)
    try:
        yield
    finally:
        writer.setLevel(before)


def _show(result: BuildResult, settings: DataSettings, as_json: bool, quiet: bool) -> None:
    """What was kept; of what was left out each reason, with the measured value and the setting that keeps more."""
    from collections import Counter

    from latentsync.data.report.advice import advice
    from latentsync.data.stages import limits_of

    reasons = Counter(f"{row['stage']}: {row['reason']}" for row in result.rows if not row["kept"])
    minutes = sum(row["duration_s"] for row in result.rows if row["kept"]) / 60
    if as_json:
        described = {
            "out": str(result.folder),
            "clips": len(result.rows),
            "kept": result.num_kept,
            "minutes": round(minutes, 3),
            "reasons": dict(reasons.most_common()),
            "wall_s": round(result.tally.wall_s, 2),
        }
        sys.stdout.write(json.dumps(described, ensure_ascii=False) + "\n")
        return
    if quiet:
        return
    sys.stdout.write(f"{result.num_kept} of {len(result.rows)} clips kept, {minutes:.1f} minutes: {result.folder}\n")
    if reasons:
        sys.stdout.write("left out:\n")
        for line in advice(result.rows, limits_of(settings.resolved())):
            sys.stdout.write(f"  {line}\n")
        sys.stdout.write(f"Values, limits and pictures: latentsync data report {result.folder}\n")


def check_build(folder: Path) -> None:
    """Raises: MediaError: there is no such folder."""
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder. Give the OUT of `latentsync data build`.")


@app.command()
def report(
    folder: Out,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The page. Default: report.html in OUT.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="With contact sheets.")] = True,
) -> None:
    """Write an HTML page: the funnel, every reason, histograms of the scores, pictures, what to change to keep more."""
    check_build(folder)
    from latentsync.data.report.html import write_report

    sys.stdout.write(f"{write_report(folder, out, pictures)}\n")


@app.command("inspect")
def inspect_(
    folder: Out,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Id of a clip, or its beginning; or a source's name.")],
    as_json: Json = False,
) -> None:
    """Show all that is known of a clip, kept or not, or of every clip of a source."""
    check_build(folder)
    from latentsync.data.manifest import read_manifest

    rows = [row for row in read_manifest(folder)[0] if row["clip_id"].startswith(clip) or row["source"] == clip]
    if not rows:
        raise MediaError(f"{clip}: no clip or source of this name in {folder}. Give an id or name of the manifest.")
    for row in rows:
        described = {
            key: json.loads(value) if key in ("facts", "files", "versions") else value for key, value in row.items()
        }
        if as_json:
            sys.stdout.write(json.dumps(described, ensure_ascii=False) + "\n")
            continue
        for key, value in described.items():
            if value not in (None, "", {}):
                sys.stdout.write(f"{key:20s} {value}\n")
        sys.stdout.write("\n")


Val = Annotated[float | None, typer.Option(metavar="SHARE", help="Share of the identities for validation.")]
Test = Annotated[float | None, typer.Option(metavar="SHARE", help="Share of the identities for the test.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Another seed deals them anew.")]


@app.command()
def split(
    folder: Out,
    val: Val = None,
    test: Test = None,
    seed: Seed = 0,
    given: Annotated[
        list[str] | None, typer.Option(metavar="IDENTITY=PART", help="Who must be where; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deal the identities of a build to training, validation and test anew; no clip is made again."""
    check_build(folder)
    from latentsync.data.api import resplit

    described = dict(_given(entry) for entry in given or [])
    _show_split(resplit(folder, _split_settings(val, test, seed), described), as_json)


@app.command()
def shard(
    folder: Out,
    target: Annotated[str, typer.Argument(metavar="TO", help="Folder or URL (s3://…, gs://…) for the shards.")],
    clips: Annotated[int, typer.Option(metavar="N", help="Clips in a shard.")] = 256,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pack the kept clips as WebDataset tar shards."""
    check_build(folder)
    from latentsync.cli.console import progress_on, stderr_console
    from latentsync.data.shards import write_shards

    with progress_on(stderr_console(), quiet) as progress:
        lines = write_shards(folder, target, clips, progress)
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n" if as_json else f"{line['shard']}  {line['clips']} clips\n")


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER", help="Builds to put together.")],
    val: Val = None,
    test: Test = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Put several builds together. With --val or --test the identities are dealt anew, else they keep their part."""
    for folder in folders:
        check_build(folder)
    from latentsync.data.shards import merge_builds

    anew = None if val is None and test is None else _split_settings(val, test, seed)
    _show_split(merge_builds(out, folders, anew), as_json)


@app.command()
def features(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER", help="Builds with --training, or their clips.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Model whose audio encoder's states are kept: tiny, 1.5, a folder."),
    ] = None,
    latents: Annotated[bool, typer.Option("--latents", help="Also the latents of its autoencoder.")] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where. Default: $LATENTSYNC_CACHE/training.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compute what training keeps of every clip (mel, and with --model the audio encoder's states) before it begins.

    Everything lies under the hash of the clip's content and of the network, so nothing is computed twice.
    """
    if latents and model is None:
        raise ConfigError("latents", True, "name the model with --model")
    from latentsync.cli.console import progress_on, stderr_console, stop_on_signal
    from latentsync.training.datasets import ArrayCache
    from latentsync.training.datasets.features import precompute
    from latentsync.training.datasets.folder import folder_clips
    from latentsync.training.datasets.seen import with_seen_mouths

    clips = with_seen_mouths([clip for folder in folders for clip in folder_clips(folder, None)])
    networks: dict[str, Any] = {}
    if model is not None:
        from latentsync.models.weights import find, load

        located = find(model, complete=True)
        networks = {
            "audio_encoder": load(located, "audio_encoder").eval(),
            "silence_s": float(located.settings.get("trailing_silence_s", 0.0)),
            "autoencoder": load(located, "autoencoder").eval() if latents else None,
            "resolution": int(located.settings.get("resolution", 256)),
        }
    arrays = ArrayCache(cache)
    with progress_on(stderr_console(), quiet) as progress, stop_on_signal() as stop:
        precompute(clips, arrays, **networks, progress=progress, stop=stop)
    if not quiet:
        sys.stdout.write(f"{len(clips)} clips: {arrays.folder}\n")


def _split_settings(val: float | None, test: float | None, seed: int) -> Any:
    from latentsync.data.settings import SplitSettings

    described = {key: value for key, value in (("val", val), ("test", test)) if value is not None}
    try:
        return SplitSettings(seed=seed, **described)
    except ConfigError as error:  # here the settings are options of their own
        fix = error.fix.replace("split.", "--")
        raise ConfigError(error.key.removeprefix("split."), error.value, fix) from error


def _given(entry: str) -> tuple[str, str]:
    name, sign, part = entry.rpartition("=")
    if not sign or part not in ("train", "val", "test"):
        raise ConfigError("given", entry, "write IDENTITY=train, IDENTITY=val or IDENTITY=test")
    return name, part


def _show_split(rows: list[dict[str, Any]], as_json: bool) -> None:
    parts: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["kept"]:
            described = parts.setdefault(row["split"], {"identities": set(), "clips": 0, "minutes": 0.0})
            described["identities"].add(row["identity"])
            described["clips"] += 1
            described["minutes"] += row["duration_s"] / 60
    shown = {
        name: {**described, "identities": len(described["identities"]), "minutes": round(described["minutes"], 3)}
        for name, described in sorted(parts.items())
    }
    if as_json:
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    for name, described in shown.items():
        sys.stdout.write(
            f"{name}: {described['identities']} identities, {described['clips']} clips, "
            f"{described['minutes']:.1f} minutes\n"
        )
