"""`latentsync models …`: which checkpoints are here, download, convert, check, licences."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentsync.cli.arguments import Json, Offline, Overwrite, Quiet, new_app
from latentsync.core.errors import WeightsError

if TYPE_CHECKING:
    from latentsync.core.progress import ProgressCallback

log = logging.getLogger(__name__)
app = new_app()

GIB = 2**30

AnyModel = Annotated[str, typer.Argument(metavar="MODEL", help="tiny, 1.5, 1.6, a model folder, or a checkpoint file.")]


@app.callback()
def models() -> None:
    """List, fetch, convert and verify checkpoints, and list their licences."""


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the models that have a name, and whether they are on this computer."""
    from latentsync.models.weights import list_models

    rows = list_models()
    if as_json:
        write_json([asdict(row) for row in rows])
        return
    from latentsync.models.weights.judges import JUDGES

    table(
        ("name", "resolution", "here", "size", "from", "what"),
        (
            (
                row.name,
                "–" if row.resolution is None else f"{row.resolution} px",
                "yes" if row.is_local else "no",
                "–" if row.size_bytes is None else f"{row.size_bytes / GIB:.2f} GiB",
                row.source,
                row.title,
            )
            for row in rows
        ),
    )
    sys.stdout.write("\nPublic judges of `evaluate`:\n")
    table(
        ("name", "here", "scores", "what"),
        (
            (judge.name, "yes" if judge.is_local else "no", ", ".join(judge.scores), judge.title)
            for judge in JUDGES.values()
        ),
    )


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of `models list`: a model or a judge; or face-model for `synth`."),
    ],
    offline: Annotated[bool, typer.Option("--offline", help="Only check that every file is here.")] = False,
    quiet: Quiet = False,
) -> None:
    """Download a model's files, once; their commit and hashes are recorded and compared from then on."""
    if name == "face-model":
        fetch_face(offline, quiet)
        return
    from latentsync.models.weights.judges import JUDGES, fetch_judge

    if name in JUDGES:
        with showing(quiet) as progress:
            path = fetch_judge(name, offline, progress)
        if not quiet:
            sys.stdout.write(f"{path}\n")
        return
    from latentsync.models.weights import fetch as fetch_model
    from latentsync.models.weights import list_models

    with showing(quiet) as progress:
        if not offline and any(row.name == name and not row.is_local for row in list_models()):
            log.info("asking the Hub for the files of %s; without a network it takes half a minute to say so", name)
        located = fetch_model(name, offline=offline, progress=progress)
    if not quiet:
        table(("part", "file"), ((part, str(path)) for part, path in located.parts.items()))


@app.command()
def convert(
    source: AnyModel,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write, new or empty.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name on the result. Default: the source's.")] = None,
    resolution: Annotated[
        int | None,
        typer.Option(metavar="256|512", help="Crop side; needed for a lone checkpoint, which doesn't say it."),
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="float16|bfloat16|float32", help="Of the stored weights.")] = "float16",
    part: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Only this part (unet, …); may be given again.")
    ] = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model as a folder of safetensors, which `--model FOLDER` takes."""
    from latentsync.models.weights import convert as convert_model

    if out.exists() and not out.is_dir():
        raise WeightsError(f"{out}: is a file. Choose a folder.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise WeightsError(f"{out}: not empty. Choose a new folder, or pass --overwrite.")
    with showing(quiet) as progress:
        written = convert_model(
            source,
            out,
            name=name,
            resolution=resolution,
            dtype=dtype,
            parts=part or None,
            offline=offline,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        sys.stdout.write(f"{written}\n")


@app.command()
def verify(model: AnyModel, as_json: Json = False) -> None:
    """Check a model's files: recorded hashes, and names and shapes of all tensors. Exit code 1 if any part fails."""
    from latentsync.models.weights import verify as verify_model

    checks = verify_model(model)
    if as_json:
        write_json([asdict(check) for check in checks])
    else:
        table(
            ("part", "", "what", "where"),
            ((check.part, "ok" if check.is_ok else "FAILED", check.detail, str(check.path)) for check in checks),
        )
    bad = [check.part for check in checks if not check.is_ok]
    if bad:
        raise WeightsError(f"{model}: {', '.join(bad)} failed. Fetch or convert it again.")


@app.command()
def licences(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="One model. Default: all with a name.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the licence of all that a run loads: parts of a model, face networks. Nothing is downloaded for it."""
    from latentsync.models.weights import FACE_LICENCES, list_models
    from latentsync.models.weights import licences as licences_of

    names = (
        [model] if model is not None else [row.name for row in list_models() if row.is_local or row.source != "package"]
    )
    rows = [{"model": name} | asdict(licence) for name in names for licence in licences_of(name)]
    rows += [{"model": "every model"} | asdict(licence) for licence in FACE_LICENCES]
    if model is None:
        from latentsync.models.weights.judges import JUDGES

        rows += [{"model": "evaluate"} | asdict(judge.licence) for judge in JUDGES.values()]
    if as_json:
        write_json(rows)
    else:
        table(("model", "part", "name", "url", "note"), ([row[key] for key in row] for row in rows))


def fetch_face(offline: bool, quiet: bool) -> None:
    """Download and pack the face model of the synthetic heads."""
    from latentsync.synth.face.fetch import fetch_face_model

    with showing(quiet) as progress:
        path = fetch_face_model(offline=offline, progress=progress)
    if not quiet:
        sys.stdout.write(f"{path}\n")


@contextmanager
def showing(quiet: bool) -> Iterator[ProgressCallback]:
    """Log and progress on stderr."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console

    console = stderr_console()
    with logging_to(console, quiet, verbose=False), progress_on(console, quiet) as progress:
        yield progress


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns on stdout, as wide as their widest cell: the terminal wraps, and `grep` finds whole lines."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def write_json(answer: Any) -> None:
    from latentsync.cli.console import plain

    sys.stdout.write(json.dumps(answer, default=plain) + "\n")
