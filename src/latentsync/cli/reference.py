"""The command reference, made from the commands: `python -m latentsync.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from latentsync.cli.main import COMMANDS, command

HEAD = """# Commands

Made by `python -m latentsync.cli.reference > docs/cli.md`; a test compares it with the commands.
What the settings do is in [usage.md](usage.md). Results go to stdout, everything else to stderr.
Exit codes: 0 done, 1 failed, 2 misuse, 130 stopped.
`latentsync --events COMMAND …` writes progress, log and errors as JSON lines to stderr, for programs.
"""


def reference() -> str:
    """The whole page. Independent of the terminal's width."""
    lines = [HEAD]
    for name in COMMANDS:
        lines += section(f"latentsync {name}", command(name))
    return "\n".join(lines).rstrip() + "\n"


def section(name: str, found: Any) -> Iterator[str]:
    """Heading, text, usage and table of one command; of each of its commands if it is a group."""
    level = "#" * name.count(" ")
    yield f"#{level} {name}\n"
    yield inspect.cleandoc(found.help or "") + "\n"
    inner = getattr(found, "commands", None)
    if inner:
        for inner_name, inner_command in inner.items():
            yield from section(f"{name} {inner_name}", inner_command)
        return
    arguments = [param for param in found.params if param.param_type_name == "argument"]
    yield f"    {' '.join([name, *(argument(param) for param in arguments), '[OPTIONS]'])}\n"
    yield "| what | meaning |\n|---|---|"
    for param in found.params:
        yield row(param)
    yield ""


def row(param: Any) -> str:
    names = [placeholder(param)]
    if param.param_type_name == "option":
        value = "" if getattr(param, "is_flag", False) else " " + placeholder(param)
        names = [f"{option}{value}" for option in sorted(param.opts, key=len, reverse=True)]
    notes = [param.help or ""]
    if param.param_type_name == "option":
        if param.required:
            notes.append("Required.")
        elif param.default is not None and param.default is not False:
            notes.append(f"Default: {param.default}.")
    written = ", ".join(f"`{name}`" for name in names).replace("|", "\\|")
    return f"| {written} | {' '.join(notes).strip()} |".replace("  ", " ")


def argument(param: Any) -> str:
    return placeholder(param) if param.required else f"[{placeholder(param)}]"


def placeholder(param: Any) -> str:
    text = str(param.metavar or param.name.upper())
    many = param.param_type_name == "argument" and param.nargs != 1
    return f"{text}…" if many else text


if __name__ == "__main__":
    sys.stdout.write(reference())
