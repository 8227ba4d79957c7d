"""`latentsync synth OUT`: synthetic talking heads with exact truth."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from latentsync.cli.arguments import Json, Quiet, Verbose, new_app
from latentsync.core.errors import ConfigError, MediaError, MissingExtraError

app = new_app()

SETTINGS = {
    "out": "OUT",
    "first_identity": "first",
    "clips_per_identity": "clips",
    "max_turn_deg": "turn",
    "hand_share": "hands",
}
"""Settings of `SynthConfig` and `render_dataset` that are called otherwise here."""


@app.command()
def synth(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for clips and manifest.jsonl; run again to go on.")
    ],
    identities: Annotated[int, typer.Option(metavar="N", help="Number of people.")] = 1,
    first: Annotated[int, typer.Option(metavar="N", help="Number of the first person, to make a set in parts.")] = 0,
    clips: Annotated[int, typer.Option(metavar="K", help="Clips of each person.")] = 1,
    seconds: Annotated[float, typer.Option(metavar="S", help="Length of a clip, a multiple of 0.04.")] = 4.0,
    size: Annotated[int, typer.Option(metavar="PX", help="Width and height.")] = 384,
    seed: Annotated[int, typer.Option(help="Seed of the set; the same seed gives the same files.")] = 0,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes.")] = 1,
    face_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Face model of `models fetch face-model`. Default: the built-in head."),
    ] = None,
    face_share: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Least and most share of the picture's height that a face takes."),
    ] = (0.35, 0.85),
    turn: Annotated[float, typer.Option(metavar="DEG", help="Largest turn of a head to any side.")] = 45.0,
    hands: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the clips in which a hand comes before the mouth.")
    ] = 0.12,
    recordings: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Real English recordings with transcripts, as voices. Needs synth-align."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make synthetic talking heads whose mouths, words and poses are known exactly."""
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.synth.config import SynthConfig
    from latentsync.synth.dataset import render_dataset

    if workers < 1:
        raise ConfigError("workers", workers, "choose 1 or more")
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out}: is a file. Give a folder for the clips")
    console = stderr_console()
    with as_typed():
        config = SynthConfig(
            identities=identities,
            first_identity=first,
            clips_per_identity=clips,
            seconds=seconds,
            size=size,
            seed=seed,
            face_model=face_model,
            face_share=face_share,
            max_turn_deg=turn,
            hand_share=hands,
            recordings=recordings,
        )
        with logging_to(console, quiet, verbose), progress_on(console, quiet) as progress, stop_on_signal() as stop:
            manifest = render_dataset(out, config, workers=workers, progress=progress, stop=stop)
    num = identities * clips
    result = {"manifest": str(manifest), "clips": num, "frames": num * config.num_frames}
    line = json.dumps(result) if as_json else f"{num} clips of {seconds:g} s: {manifest}"
    sys.stdout.write(line + "\n")


@contextmanager
def as_typed() -> Iterator[None]:
    """Errors about a setting name the option or argument that was typed, and write values as on the command line."""
    try:
        yield
    except MissingExtraError:
        raise
    except ConfigError as error:
        key, fix = error.key.removeprefix("synth."), error.fix
        for setting, option in SETTINGS.items():
            fix = re.sub(rf"\b{setting}\b", option, fix)  # "it holds a set with other first_identity"
        value = " ".join(map(str, error.value)) if isinstance(error.value, tuple) else error.value
        raise ConfigError(SETTINGS.get(key, key), value, fix) from error
