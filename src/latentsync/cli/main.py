"""The command `latentsync`: a table of commands, each loaded when called, and the edge where errors become words."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from latentsync.cli import events
from latentsync.cli.arguments import new_app
from latentsync.cli.streams import flush_results, give_up_stdout, prepare_streams
from latentsync.core.errors import ConfigError, LatentSyncError, MissingExtraError, Stopped, shown
from latentsync.core.files import DISK_FULL, target_of, without_temporary
from latentsync.core.reading import printable, shown_path

COMMANDS = {
    "demo": "Lip-sync the shipped sample, with every default.",
    "sync": "Make the person in VIDEO say what AUDIO says.",
    "inspect": "Look at a video (and speech) before a run: faces, sizes, cuts, lengths, expected time.",
    "doctor": "Look at this machine: versions, devices, codecs, files; what would be slow.",
    "models": "List, fetch, convert and verify checkpoints, and list their licences.",
    "evaluate": "Score a model on people, beside baselines, into a report.",
    "data": "Turn raw videos into training clips, with a reason for every clip left out.",
    "batch": "Lip-sync many films: a list or a folder; resumable, with a report.",
    "serve": "Serve lip-sync over HTTP: a page, a durable queue, an interface for programs.",
    "synth": "Make talking heads whose mouths are known exactly.",
    "train": "Train a network, or go on with a run.",
}
"""Name of each module in this folder that holds a command, and its line in `latentsync --help`."""

DONE, FAILED, MISUSE, STOPPED = 0, 1, 2, 130
"""Exit codes; 130 is what shells use for a program ended by Ctrl-C."""

SYSTEM_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""Refusals of the operating system that a user can lift: disk full, over quota, no permission, read-only."""

BAD_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EILSEQ)
"""Refusals of a name: too long, links in a circle, a file where a folder is meant, and the other way round."""

NUMPYS_FULL_DISK = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says of an array that could not be written whole: an `OSError` without a number."""

WHOLE = ("max_frames",)
"""Settings whose option keeps the unit in its name."""

ARGUMENTS = {"task": "TASK"}
"""Settings that are arguments, not options, and their names in the help. A key in capitals is one already."""


def command(name: str) -> Any:
    """The parser of one command, imported on demand; its module's `app` is a Typer with one command or several."""
    found = get_command(import_module(f"latentsync.cli.{name}").app)
    found.name = name
    return found


class Commands(TyperGroup):
    """The table above as a Typer group, and the edge at which a user's mistake becomes one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        try:
            answer = super().invoke(ctx)
            flush_results()
            return answer
        except (Stopped, KeyboardInterrupt) as error:
            say(str(error) or "stopped; nothing was written")
            raise typer.Exit(STOPPED) from error
        except LatentSyncError as error:
            say(f"error: {one_line(error)}")
            raise typer.Exit(MISUSE if isinstance(error, ConfigError) else FAILED) from error
        except BrokenPipeError as error:  # the reader of our output left (`| head`): nothing to tell it
            give_up_stdout()
            raise typer.Exit(FAILED) from error
        except OSError as error:
            if error.errno in BAD_NAMES and error.filename is not None:
                say(f"error: {shown_path(os.fsdecode(error.filename))}: {error.strerror}. Check the path.")
                raise typer.Exit(FAILED) from error
            if error.errno not in SYSTEM_REFUSALS and not NUMPYS_FULL_DISK.search(str(error)):
                raise
            what, why = target_of(error.filename) if error.filename else "writing", error.strerror or error
            full = error.errno in DISK_FULL or error.errno not in SYSTEM_REFUSALS
            say(f"error: {what}: {why}. {'Free space' if full else 'Check its permissions'} or choose another folder.")
            raise typer.Exit(FAILED) from error


app = new_app(cls=Commands)


def show_version(wanted: bool) -> None:
    if wanted:
        from latentsync import __version__

        sys.stdout.write(f"latentsync {__version__}\n")
        raise typer.Exit(DONE)


@app.callback()
def latentsync(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
    ] = False,
    as_events: Annotated[
        bool, typer.Option("--events", help="Progress, log and errors as JSON lines on stderr, for programs.")
    ] = False,
) -> None:
    """LatentSync: lip-sync any video to any speech.

    `latentsync COMMAND --help` tells about one command. Results go to stdout, everything else to stderr.
    Exit codes: 0 done, 1 failed, 2 misuse, 130 stopped.
    """
    if as_events:
        os.environ[events.SWITCH] = "1"


def say(text: str) -> None:
    """One line on stderr, which only that terminal shows which is meant: no letter of a file's name controls it."""
    if events.wanted():
        events.emit("error" if "error:" in text else "message", text=text)
        return
    sys.stderr.write("\n".join(printable(line) for line in text.split("\n")) + "\n")


def one_line(error: LatentSyncError) -> str:
    """The message in one line; a setting is named as its option (`start_s` → `--start`, `a.b` → `--set a.b=…`), an
    argument as in the help (`task` → `TASK`)."""
    if isinstance(error, ConfigError) and not isinstance(error, MissingExtraError):
        value = "" if error.value is None else shown(error.value)
        if "." in error.key:
            given = "" if error.value is None else f"={value}"
            return f"--set {error.key}{given}: {error.fix}"
        name = error.key
        if name not in WHOLE:
            name = name.removesuffix("_s").removesuffix("_frames").removesuffix("_interval")
        option = name if name.isupper() else ARGUMENTS.get(name) or f"--{name.replace('_', '-')}"
        return f"{option} {value}: {error.fix}".replace(" :", ":")
    return " ".join(without_temporary(str(error)).split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Our own bugs fly: Python prints the traceback and exits with 1, after a line that asks for it.

    After a stop Python still waits for threads, e.g. of torch: another Ctrl-C ends that wait.
    """
    # Threads that spin while they wait for a busy core can make two cores seven times slower than one; read by torch's
    # thread pool when it starts. A user's own setting wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The Hub's client tells each of its tries on stderr, beside our one line; read when it is imported. A user's own
    # setting wins.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    prepare_streams()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="latentsync")
    except SystemExit as end:
        if end.code == STOPPED:
            from latentsync.cli.console import end_quietly_on_signal

            end_quietly_on_signal(STOPPED)
        raise
    except Exception:
        say("internal error: this is a bug in latentsync. Please report it with the traceback below.")
        raise
