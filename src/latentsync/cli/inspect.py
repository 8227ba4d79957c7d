"""`latentsync inspect VIDEO [AUDIO]`: a look before the run."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
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
    Quiet,
    SoundTrack,
    Verbose,
    check_source,
    new_app,
)

if TYPE_CHECKING:
    from rich.console import Console

    from latentsync.core.progress import ProgressCallback, StopFlag
    from latentsync.pipeline.preflight import Preflight

app = new_app()


@app.command()
def inspect(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video of the person.")],
    audio: Annotated[
        Path | None, typer.Argument(metavar="AUDIO", help="The speech, to compare the lengths.", show_default=False)
    ] = None,
    audio_track: SoundTrack = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Frames to look at.")] = 32,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also lip-sync one second with --model, and tell how long the whole takes."),
    ] = False,
    model: Model = "tiny",
    device: Device = None,
    dtype: Dtype = None,
    face_model: FaceModel = None,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at a video (and speech) before a run: faces, sizes, cuts, lengths. Warnings name the setting."""
    for source in (video, *([] if audio is None else [audio])):
        check_source(source)
    from latentsync.cli.console import logging_to, plain, progress_on, stderr_console, stop_on_signal

    console = stderr_console()
    expected = None
    with logging_to(console, quiet, verbose), stop_on_signal() as stop:
        from latentsync.faces import MeshTracker
        from latentsync.pipeline.preflight import look

        tracker = MeshTracker(model_folder=face_model, offline=offline)
        with progress_on(console, quiet) as progress:
            found = look(video, audio, audio_track, tracker=tracker, num_samples=samples, progress=progress, stop=stop)
            if measure:
                load = {"model": model, "device": device, "dtype": dtype, "offline": offline, "face_model": face_model}
                expected = measured(found, load, progress, stop)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict() | {"expected": expected}, default=plain) + "\n")
    else:
        from rich.console import Console

        show(found, expected, Console(highlight=False, soft_wrap=True))


def measured(found: Preflight, load: dict[str, Any], progress: ProgressCallback, stop: StopFlag) -> dict[str, object]:
    """Lip-sync one second from the middle of the video and scale its time up to the whole speech (or video)."""
    from latentsync.config.options import SyncOptions
    from latentsync.core.files import temporary_folder
    from latentsync.pipeline import Lipsync

    whole_s = found.audio_duration_s or found.duration_s or Fraction(1)
    video_s = found.duration_s or Fraction(1)
    start_s = max(Fraction(0), video_s / 2 - Fraction(1, 2))
    options = SyncOptions(
        start_s=start_s, end_s=start_s + 1, length="video", keep_audio="none", audio_track=found.audio_track
    )
    lipsync = Lipsync.from_pretrained(**load)
    with temporary_folder() as folder:
        out = folder / "second.mkv"  # whatever kind of file VIDEO is: not all that are read can be written
        speech = found.audio_path or found.video_path
        result = lipsync(found.video_path, speech, out, options=options, progress=progress, stop=stop)
    return {
        "model": result.model,
        "frames_per_s": result.frames_per_s,
        "seconds": float(whole_s * found.fps) / result.frames_per_s,
        "peak_memory_gib": result.peak_memory_gib,
    }


def show(found: Preflight, expected: dict[str, object] | None, console: Console) -> None:
    """A table for people, then the warnings."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("video", str(found.video_path))
    rate = f"{float(found.fps):.6g} fps{' (varies)' if found.is_variable_rate else ''}"
    turned = f", turned {found.rotation}°" if found.rotation else ""
    table.add_row("picture", f"{found.width} × {found.height}{turned}, {rate}, {found.codec}, {found.pix_fmt}")
    table.add_row("length", _seconds(found.duration_s))
    if found.audio_path is not None:
        table.add_row("speech", f"{found.audio_path}, {_seconds(found.audio_duration_s)}")
    if len(found.sounds) > 1:
        table.add_row("sound tracks", ", ".join(each.words for each in found.sounds))
    if found.further:
        table.add_row("also in it", ", ".join(found.further))
    if found.timecode is not None:
        table.add_row("timecode", found.timecode)
    table.add_row(
        "faces", f"on {found.num_with_face} of {len(found.samples)} sampled frames, at most {found.most_faces} at once"
    )
    table.add_row("cuts", f"{found.num_cuts} among the {found.num_read} frames that were read")
    widths = sorted(face.width_px for face in found.largest)
    if widths:
        turns = sorted(abs(face.turn_deg) for face in found.largest)
        table.add_row("face width", f"{widths[0]} to {widths[-1]} px, usually {widths[len(widths) // 2]} px")
        table.add_row("turned by", f"about {turns[len(turns) // 2]:.0f}°, at most {turns[-1]:.0f}°")
    if expected is not None:
        memory = expected["peak_memory_gib"]
        table.add_row(
            "expected",
            f"{expected['seconds']:.0f} s with {expected['model']} ({expected['frames_per_s']:.1f} frames/s), "
            f"peak memory {'not known' if memory is None else f'{memory:.2f} GiB'}",
        )
    console.print(table)
    for warning in found.warnings:
        console.print(f"• {warning}", markup=False)


def _seconds(length_s: Fraction | None) -> str:
    return "length not known" if length_s is None else f"{float(length_s):.2f} s"
