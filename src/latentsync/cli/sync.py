"""`latentsync sync VIDEO AUDIO -o OUT`: the main job."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentsync.cli.arguments import (
    Device,
    Dtype,
    FaceChoice,
    FaceModel,
    Json,
    Model,
    Offline,
    Overwrite,
    Quiet,
    SoundTrack,
    Time,
    Verbose,
    check_source,
    check_target,
    choice,
    new_app,
)
from latentsync.cli.streams import flush_results, give_up_stdout
from latentsync.config import options as kinds
from latentsync.core.errors import ConfigError, LatentSyncError, Stopped
from latentsync.core.files import same_file

if TYPE_CHECKING:
    from latentsync.config.plan import Plan
    from latentsync.pipeline import Lipsync, Result

log = logging.getLogger(__name__)

DEFAULTS = kinds.SyncOptions()

app = new_app()


@app.command()
def sync(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video of the person.")],
    audio: Annotated[
        Path | None, typer.Argument(metavar="AUDIO", help="Speech: a sound file, or a video with sound.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Video to write, e.g. out.mp4.")],
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of AUDIO: speeches, faces, times (yaml, json, csv, srt, vtt, edl, otio).",
        ),
    ] = None,
    model: Model = "tiny",
    resolution: Annotated[
        int | None, typer.Option(metavar="256|512", help="Crop side of a lone checkpoint file, which does not say it.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A speaker's adapter (`latentsync train unet`).")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="draft|balanced|best|FILE", help="A set of options, or your own YAML file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Denoising steps. Default: the checkpoint's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="X", help="Guidance scale, 1 = off. Default: the checkpoint's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help=f"Seed of the noise. Default: {DEFAULTS.seed}.")] = None,
    overlap: Annotated[
        int | None, typer.Option(metavar="FRAMES", help="Cross-fade between chunks. Default: the checkpoint's.")
    ] = None,
    block_cache: Annotated[
        int | None, typer.Option(metavar="N", help="Compute deep blocks each N-th step only. Default: 1, exact.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    face: FaceChoice = None,
    face_model: FaceModel = None,
    length: Annotated[str | None, choice("length", kinds.Length, "Length of the result.", "audio")] = None,
    silence: Annotated[str | None, choice("silence", kinds.Silence, "The mouth where nobody speaks.")] = None,
    no_face: Annotated[str | None, choice("no_face", kinds.NoFace, "Frames without a face.")] = None,
    start: Time = None,
    end: Time = None,
    audio_start: Annotated[
        str | None, typer.Option(metavar="TIME", help="In AUDIO: where the speech to use begins. Default: 0.")
    ] = None,
    audio_track: SoundTrack = None,
    codec: Annotated[str | None, typer.Option(metavar="NAME", help="Video codec. Default: as VIDEO.")] = None,
    crf: Annotated[
        float | None, typer.Option(metavar="X", help="Quality, lower is better. Default: near lossless.")
    ] = None,
    pixel_format: Annotated[str | None, typer.Option(metavar="NAME", help="e.g. yuv420p. Default: as VIDEO.")] = None,
    keep_audio: Annotated[str | None, choice("keep_audio", kinds.KeepAudio, "The speech in OUT.")] = None,
    mix: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Music and effects, as long as VIDEO, under the speech.")
    ] = None,
    duck: Annotated[
        float | None, typer.Option(metavar="DB", help="Lower music and effects by DB while somebody speaks.")
    ] = None,
    match_loudness: Annotated[
        bool, typer.Option("--match-loudness", help="Bring the speech to the loudness of VIDEO's own dialogue.")
    ] = False,
    tracks: Annotated[
        str | None, choice("tracks", kinds.Tracks, "VIDEO's further sound tracks, subtitles, chapters, attachments.")
    ] = None,
    render: Annotated[
        str | None, choice("render", kinds.Render, "smart: copy what is not edited, encode only the rest.")
    ] = None,
    paste: Annotated[str | None, choice("paste", kinds.Paste, "What is pasted back.")] = None,
    no_provenance: Annotated[
        bool, typer.Option("--no-provenance", help="Do not write into OUT that its lips are synthetic.")
    ] = False,
    offline: Offline = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep face tracks here, and finished work of a run that is broken off."),
    ] = None,
    strip: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also write a picture of the mouth over time, source over result."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="HTML", help="Also score the result: a page with scores, curves and pictures."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make the person in VIDEO say what AUDIO says, or several people what a plan says."""
    from latentsync.config.loader import preset_named, sync_options
    from latentsync.config.plan import refuse_beside_plan
    from latentsync.config.times import parse_time

    given: dict[str, object | None] = {
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "overlap_frames": overlap,
        "block_cache_interval": block_cache,
        "face": face,
        "length": length,
        "silence": silence,
        "no_face": no_face,
        "start_s": None if start is None else parse_time("start_s", start),
        "end_s": None if end is None else parse_time("end_s", end),
        "audio_start_s": None if audio_start is None else parse_time("audio_start_s", audio_start),
        "audio_track": audio_track,
        "codec": codec,
        "crf": crf,
        "pixel_format": pixel_format,
        "keep_audio": keep_audio,
        "mix": None if mix is None else str(mix),
        "duck": duck,
        "match_loudness": True if match_loudness else None,
        "tracks": tracks,
        "render": render,
        "paste": paste,
        "provenance": False if no_provenance else None,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    options = sync_options(preset, changes)
    if (audio is None) == (plan is None):
        raise typer.BadParameter("give either AUDIO or a plan: latentsync sync VIDEO --plan plan.yaml -o OUT")
    bed = None if options.mix is None else Path(options.mix)
    sources = [path for path in (video, audio, plan, bed) if path is not None]
    for source in sources:
        check_source(source)
    if report is not None and plan is not None:
        raise ConfigError("report", str(report), "leave it out: the page scores one speech, a plan has several")
    if plan is not None:
        with preset_named(preset, changes):
            refuse_beside_plan(options)
    said = None if plan is None else _read_plan(plan, video)
    entries = () if said is None else said.entries
    sources += [entry.audio for entry in entries]
    sources += _files_among([options.face, model, preset, adapter, *(entry.face for entry in entries)])
    for target in (out, strip, report):
        if target is not None:
            check_target(target, sources=sources, overwrite=overwrite)
    _check_apart({"strip": strip, "report": report}, out)
    load = {
        "model": model,
        "device": device,
        "dtype": dtype,
        "offline": offline,
        "face_model": face_model,
        "resolution": resolution,
        "adapter": adapter,
    }
    with preset_named(preset, changes):
        result, missed = run(
            _Job(video, audio, said, out, cache, strip, report, options, load, quiet, verbose, overwrite)
        )
    beside = {"strip": strip, "report": report}
    try:
        show(result, {name: None if name in missed else path for name, path in beside.items()}, as_json, quiet)
        flush_results()
    except OSError as error:  # the film is there: that is what was asked for
        give_up_stdout()
        sys.stderr.write(f"{out} is written; its summary cannot be ({error.strerror})\n")
    if missed:  # the result is there all the same
        raise LatentSyncError(" ".join(f"{name} not made: {error}" for name, error in missed.items()))


def _files_among(words: Iterable[str | Path | None]) -> list[Path]:
    """Those of some words, each a name, a place or a file, that are files."""
    found = []
    for word in words:
        with suppress(OSError, ValueError):  # no possible name of a file
            if word is not None and Path(word).is_file():
                found.append(Path(word))
    return found


def _check_apart(beside: dict[str, Path | None], out: Path) -> None:
    """Refuse to write one file over another of the same run, or a picture under the name of another kind of file.

    Args: beside: what is written besides `out`, by the option that asks for it.
    Raises: ConfigError.
    """
    known = [out]
    for option, path in beside.items():
        if path is None:
            continue
        if any(same_file(path, other) for other in known):
            raise ConfigError(option, str(path), "another output has this name. Choose another one")
        known.append(path)
    strip = beside.get("strip")
    if strip is not None and strip.suffix.lower() != ".png":
        raise ConfigError("strip", str(strip), "it is a PNG picture: choose a name that ends in .png")
    report = beside.get("report")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise ConfigError("report", str(report), "it is a page: choose a name that ends in .html")


def _read_plan(path: Path, video: Path) -> Plan:
    """The plan, checked before anything heavy is loaded, with the files it names."""
    from latentsync.config.plan import load_plan
    from latentsync.media import probe

    media = probe(video)
    plan = load_plan(path, None if media.video is None else media.video.fps, media.timecode)
    for entry in plan.entries:
        check_source(entry.audio)
    return plan


@dataclass(frozen=True)
class _Job:
    video: Path
    audio: Path | None
    plan: Plan | None
    out: Path
    cache: Path | None
    strip: Path | None
    report: Path | None
    options: kinds.SyncOptions
    load: dict[str, Any]
    quiet: bool
    verbose: bool
    overwrite: bool


def run(job: _Job) -> tuple[Result, dict[str, LatentSyncError]]:
    """Load the model, lip-sync, draw and score as asked; progress and log go to stderr, Ctrl-C raises the stop flag.

    Returns: the result, and why a strip or a report of it could not be made.
    Raises: Stopped: on request; it says so where the result is there already.
    """
    from latentsync.cli.console import logging_to, progress_on, stderr_console, stop_on_signal
    from latentsync.core.progress import check

    console = stderr_console()
    with logging_to(console, job.quiet, job.verbose), stop_on_signal() as stop:
        from latentsync.pipeline.output import check_output
        from latentsync.pipeline.preflight import check_faces

        for loss in check_output(job.video, job.out, job.options, is_plan=job.plan is not None):
            log.warning("%s", loss)
        check_faces(job.plan, job.options)
        from latentsync.pipeline import Lipsync

        with progress_on(console, job.quiet) as progress:
            lipsync = Lipsync.from_pretrained(**job.load, progress=progress)
            check(stop)
            files = job.video, job.audio, job.out
            result = lipsync(
                *files, plan=job.plan, options=job.options, cache=job.cache, overwrite=job.overwrite,
                progress=progress, stop=stop,
            )  # fmt: skip
        missed: dict[str, LatentSyncError] = {}
        for name, make in (("strip", _draw_strip), ("report", _write_report)):
            try:
                if getattr(job, name) is not None and stop():
                    raise KeyboardInterrupt
                make(job, lipsync, result)
            except KeyboardInterrupt as error:
                raise Stopped(f"stopped; {job.out} is written, without its {name}") from error
            except LatentSyncError as error:
                missed[name] = error
    return result, missed


def _draw_strip(job: _Job, lipsync: Lipsync, _result: Result) -> None:
    """Draw the strip of a finished result, where one is asked for."""
    if job.strip is not None and job.plan is not None:
        from latentsync.media import VideoReader
        from latentsync.metrics.strips import people_strip
        from latentsync.pipeline.plan import planned

        with VideoReader(job.video, job.options.start_s, job.options.end_s) as reader:
            script = planned(job.plan, reader, job.options)
            people = [speaker.wanted for speaker in script.speakers]
            people_strip(script.frames, job.out, job.strip, people, tracker=lipsync.tracker)
    elif job.strip is not None:
        from latentsync.metrics.strips import mouth_strip

        options = job.options
        start_s = options.start_s or Fraction(0)
        mouth_strip(
            job.video, job.out, job.strip, start_s=start_s, end_s=options.end_s, choice=options.face,
            tracker=lipsync.tracker,
        )  # fmt: skip


def _write_report(job: _Job, lipsync: Lipsync, result: Result) -> None:
    """Write the page of a finished result, where one is asked for."""
    if job.report is not None and job.audio is not None:
        from latentsync.core.files import atomic_path, temporary_folder
        from latentsync.evaluation.single import write_single_report

        if job.options.face != "largest":
            log.warning(
                "%s looks at the face seen in most frames, which may not be --face %s", job.report, job.options.face
            )
        about = {"model": result.model, "seed": result.seed, "frames": result.num_frames}
        with temporary_folder() as folder:
            pages = write_single_report(
                job.video, job.audio, job.out, folder, lipsync.tracker, about=about,
                start_s=job.options.start_s, end_s=job.options.end_s,
                audio_start_s=job.options.audio_start_s, audio_track=job.options.audio_track,
                page_folder=job.report.parent,
            )  # fmt: skip
            with atomic_path(job.report, replace=job.overwrite) as part:
                part.write_bytes(pages["report.html"].read_bytes())


def loudness_words(levels: Mapping[str, Any]) -> str:
    """A line for people about the sound of a mix."""
    level, peak = levels["result_lufs"], levels["result_true_peak_dbtp"]
    if level is None or peak is None:
        return "sound silent"
    return f"sound {level:.1f} LUFS, true peak {peak:.1f} dBTP"


def show(result: Result, extras: dict[str, Path | None], as_json: bool, quiet: bool) -> None:
    """Print the result: one JSON object, or a few lines for people, or nothing when quiet."""
    if as_json:
        from latentsync.cli.console import plain

        extra_paths = {f"{name}_path": None if path is None else str(path) for name, path in extras.items()}
        answer = result.as_dict() | extra_paths
        sys.stdout.write(json.dumps(answer, default=plain) + "\n")
    elif not quiet:
        untouched = f", {result.num_without_face} without a face" if result.num_without_face else ""
        copied = f", {result.num_copied} copied as they were" if result.num_copied else ""
        memory = "not known" if result.peak_memory_gib is None else f"{result.peak_memory_gib:.2f} GiB"
        lines = [
            str(result.out_path),
            f"  {result.num_frames} frames, {result.duration_s:.2f} s at {float(result.fps):.6g} fps: "
            f"{result.num_edited} lip-synced{untouched}{copied}",
            f"  speed {result.frames_per_s:.1f} frames/s ({result.seconds_total:.1f} s), "
            f"peak memory {memory}, model {result.model}, seed {result.seed}",
        ]
        if result.loudness is not None:
            lines.append(f"  {loudness_words(result.loudness)}")
        lines += [f"  {name} {path}" for name, path in extras.items() if path is not None]
        lines += [f"  warning: {warning}" for warning in result.warnings]
        sys.stdout.write("\n".join(lines) + "\n")
