"""`latentsync evaluate CLIPS -o FOLDER`: score a model on people, beside baselines, into a report."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    choice,
    new_app,
)
from latentsync.config import options as kinds
from latentsync.core.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from latentsync.evaluation.report import Table
    from latentsync.evaluation.results import SuiteOptions, SuiteResult

app = new_app()


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
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="tiny, 1.5, 1.6, a model folder or checkpoint, or none; several make several columns. Default: tiny.",
        ),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Also score another method's videos, FOLDER/PROTOCOL/CLIP.mp4 or FOLDER/CLIP-PROTOCOL.mp4.",
        ),
    ] = None,
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Score nothing: write videos and speeches for methods that run elsewhere.")
    ] = False,
    adapter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A speaker's adapter (`latentsync train unet`).")
    ] = None,
    speaker: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Who speaks: this pattern's first group in the file's name. Default: the list's column, the "
            "sub-folder, or by the faces in a flat folder.",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="paired|reconstruction|cross|silent|shifted",
            help="What to do; may be repeated. Default: all but paired, or what --results has videos of.",
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
        Path | None,
        typer.Option(metavar="FILE", help="syncnet_v2.model, for LSE-C and LSE-D. Default: fetched."),
    ] = None,
    fid_network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript picture network for FID. Default: fetched.")
    ] = None,
    fvd_network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript video network for FVD. Default: fetched.")
    ] = None,
    feature_network: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TorchScript network of feature maps for a perceptual distance."),
    ] = None,
    face_network: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ONNX or TorchScript face recogniser for CSIM. Default: the fetched one."),
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Also sharpness at the video's own resolution, octave by octave.")
    ] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Also write summary.tex: the tables for a paper.")] = False,
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Also a page on which anyone judges two methods, not knowing which is which."),
    ] = False,
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
    """Score models and other methods' videos: sync, leakage, sharpness, identity, beside baselines, with intervals.

    Writes report.html (the worst clips first), report.json, scores.csv and summary.csv. What is done lies in
    FOLDER/.work: after a stop, the same command goes on. Exit code 1 where a clip could not be done.
    """
    if max_clips is not None and max_clips < 1:
        raise ConfigError("max_clips", max_clips, "choose 1 or more")
    sync = {"steps": steps} | ({} if silence is None else {"silence": silence})
    kinds.SyncOptions(**sync)  # type: ignore[arg-type]  # refuses before anything is loaded
    models = [name for name in model or ["tiny"] if name != "none"]
    if adapter is not None and len(models) != 1:
        raise ConfigError("adapter", str(adapter), "it belongs to one model: give one --model")
    if not models and not results and not inputs:
        raise ConfigError("model", "none", "give --results NAME=FOLDER, or a model")
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out}: is a file. Give a folder for the report")
    if (out / "report.json").exists() and not overwrite and not inputs:
        raise MediaError(f"{out}: holds a report. Choose another folder, or pass --overwrite")
    from latentsync.cli.evaluation_job import EvaluationJob, run, write_inputs

    job = EvaluationJob(
        clips=clips,
        out=out,
        models=tuple(models),
        results=tuple(results or ()),
        speaker=speaker,
        load={"device": device, "dtype": dtype, "offline": offline, "face_model": face_model, "adapter": adapter},
        options=_options(protocol, seed, shift, max_frames, native, out / "videos" if keep_videos or blind else None),
        judges={"own": judge, "own_config": judge_config, "v2": syncnet_v2, "perceptual": feature_network,
                "face": face_network},
        features={"FID": fid_network, "FVD": fvd_network},
        sync=sync,
        max_clips=max_clips,
        write_list=write_list,
        protocols_given=bool(protocol),
        latex=latex,
        blind=blind,
    )  # fmt: skip
    if inputs:
        sys.stdout.write(f"{write_inputs(job, quiet, verbose)}\n")
        return
    result, paths = run(job, quiet, verbose)
    show(result, paths, as_json, quiet)
    if result.failed:
        raise typer.Exit(1)


def _options(
    protocols: list[str] | None, seed: int, shift: int, max_frames: int, native: bool, keep_folder: Path | None
) -> SuiteOptions:
    from latentsync.evaluation.protocols import PROTOCOLS
    from latentsync.evaluation.results import SuiteOptions

    return SuiteOptions(
        protocols=tuple(protocols) if protocols else PROTOCOLS,  # type: ignore[arg-type]
        seed=seed,
        shift_frames=shift,
        max_frames=max_frames,
        native=native,
        keep_folder=keep_folder,
    )


def show(result: SuiteResult, paths: dict[str, Path], as_json: bool, quiet: bool) -> None:
    """Print the methods' means by protocol, or everything as JSON."""
    from latentsync.evaluation.report import tables

    found = tables(result.rows, result.methods)
    if as_json:
        answer = {
            "methods": result.methods,
            "tables": {
                protocol: {name: {s: asdict(cell) for s, cell in row.items()} for name, row in table.items()}
                for protocol, table in found.items()
            },
            "missing": result.missing,
            "failed": [{"clip": clip, "protocol": protocol, "why": why} for clip, protocol, why in result.failed],
            "paths": {name: str(path) for name, path in paths.items()},
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    elif not quiet:
        for title, table in found.items():
            sys.stdout.write("\n".join(_lines(title, table, result.methods)) + "\n")
        for line in result.mouths:
            if line.system in result.methods:
                sys.stdout.write(
                    f"{line.protocol}, {line.system}: inside of open mouths {line.over_floor:.2f} × as far from the "
                    f"person's real ones as those are from each other (Fréchet, {line.frechet.num} people)\n"
                )
        for score, why in result.missing.items():
            sys.stdout.write(f"{score}: –, because {why}\n")
        sys.stdout.write(f"{paths['report.html']}\n")
        if "blind.html" in paths:
            sys.stdout.write(f"{paths['blind.html']}\n")
        for clip, protocol, why in result.failed:
            sys.stderr.write(f"not done: {clip}, {protocol}: {why}\n")


def _lines(title: str, table: Table, methods: list[str]) -> list[str]:
    """One protocol: a score a line, a method a column; the interval where there is one method."""
    from latentsync.evaluation.scoring import ABOUT

    wide = max(8, *(len(name) for name in methods)) + 2
    lines = [title] if len(methods) == 1 else [f"{title:<24}" + "".join(f"{name:>{wide}}" for name in methods)]
    for name, row in table.items():
        cells = [row.get(method) for method in methods]
        if not any(cells):
            continue
        text = "".join(f"{'–' if cell is None else f'{cell.mean:.3f}':>{wide}}" for cell in cells)
        (first, *others) = cells
        span = f"  [{first.low:.3f}, {first.high:.3f}]" if first is not None and not others else ""
        lines.append(f"  {name:<22}{text}{span}  {ABOUT[name].label}")
    return lines
