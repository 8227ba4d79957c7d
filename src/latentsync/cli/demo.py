"""`latentsync demo`: lip-sync the shipped sample, or a video and a speech of the user's, with every default."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from latentsync.cli.arguments import Model, new_app

app = new_app()

SAMPLE = ("talk.mp4", "speech.wav")
"""Video and speech inside the package, in `assets/sample`."""


def sample(name: str) -> Path:
    """A file of the shipped sample. The package lies on disk, never in an archive."""
    return Path(str(resources.files("latentsync") / "assets" / "sample" / name))


@app.command()
def demo(
    video: Annotated[
        Path | None, typer.Argument(metavar="VIDEO", help="Default: the shipped sample.", show_default=False)
    ] = None,
    audio: Annotated[
        Path | None, typer.Argument(metavar="AUDIO", help="Default: the shipped sample's.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Default: outputs/VIDEO-AUDIO.mp4 here, replaced each time."),
    ] = None,
    model: Model = "tiny",
) -> None:
    """Lip-sync the shipped sample and print speed and memory; the mouth over time is drawn beside the result."""
    video, audio = video or sample(SAMPLE[0]), audio or sample(SAMPLE[1])
    target = out or Path("outputs") / f"{video.stem}-{audio.stem}.mp4"
    if out is None:
        target.parent.mkdir(exist_ok=True)
    sys.stderr.write(f"lip-syncing {video.name} with {audio.name}, model {model}\n")
    arguments = [str(video), str(audio), "--out", str(target), "--model", model]
    arguments += ["--strip", str(target.with_name(f"{target.stem}-strip.png"))]
    if out is None:
        arguments.append("--overwrite")
    from latentsync.cli.sync import app as sync

    get_command(sync).main(arguments, prog_name="latentsync sync", standalone_mode=False)
