"""Options and checks that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from latentsync.config.options import SyncOptions
from latentsync.core.errors import MediaError
from latentsync.core.files import refuse_input, refuse_unwritable
from latentsync.core.reading import name_refused, require_file, shown_path

_WHOLE = 1000  # more letters than any first sentence has


class Group(TyperGroup):
    """A command of several: its help shows each one's first sentence to the end."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
            formatter.write_dl([(name, each.get_short_help_str(_WHOLE)) for name, each in commands if each])


def new_app(cls: type[TyperGroup] = Group, **more: Any) -> typer.Typer:
    """An empty command or group with plain help; tracebacks are left to Python."""
    return typer.Typer(
        cls=cls,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **more,
    )


def choice(key: str, kind: Any, text: str, unset: str = "the checkpoint's") -> Any:
    """An option of `SyncOptions` that takes one word of a Literal, shown as a|b|c with its default; `unset` = what it
    is where nobody says it."""
    default = getattr(SyncOptions(), key) or unset
    return typer.Option(metavar="|".join(get_args(kind)), help=f"{text} Default: {default}.")


Device = Annotated[
    str | None, typer.Option(metavar="cpu|cuda|cuda:N|mps", help="Where to compute. Default: the fastest.")
]
Dtype = Annotated[
    str | None, typer.Option(metavar="float32|bfloat16|float16", help="Precision. Default: the device's best.")
]
FaceChoice = Annotated[
    str | None,
    typer.Option(metavar="largest|left|right|INDEX|X,Y|X,Y,W,H|PICTURE", help="Which face. Default: largest."),
]
FaceModel = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder with the two face .tflite files. Default: the installed ones."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Model = Annotated[
    str,
    typer.Option(metavar="NAME|FOLDER|FILE", help="tiny, 1.5, 1.6 (see `latentsync models list`), or a checkpoint."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never download; fail where a file is missing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")]
SoundTrack = Annotated[
    str | None,
    typer.Option(
        "--audio-track",
        metavar="N|LANGUAGE",
        help="Which sound track of AUDIO (with a plan: of VIDEO), from 0, or a language as deu. Default: as marked.",
    ),
]
Time = Annotated[str | None, typer.Option(metavar="TIME", help="In VIDEO: seconds (12.5) or minutes:seconds (1:02.5).")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show details, and where an error happened.")]


def check_source(path: Path) -> None:
    """Refuse, before anything heavy is loaded, an input that is no file. Raises: MediaError."""
    require_file(path)


def check_target(target: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that would destroy an input or, unasked, another file, or has no folder that can be written to.

    Raises: MediaError.
    """
    if not name_refused(target.parent) and not target.parent.is_dir():
        raise MediaError(f"{target.parent}: no such folder. Make it first, or choose another one.")
    if why := name_refused(target):
        raise MediaError(f"{shown_path(target)}: cannot be written ({why}). Choose another name.")
    if target.is_dir():
        raise MediaError(f"{target}: is a folder. Give the name of the file to write.")
    if target.exists():
        refuse_input(target, sources)
        if not overwrite:
            raise MediaError(f"{target}: exists. Choose another name, or pass --overwrite.")
    refuse_unwritable(target)
