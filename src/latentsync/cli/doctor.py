"""`latentsync doctor`: what this machine can do, and what would be slow on it and why."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from latentsync.cli.arguments import Json, new_app

if TYPE_CHECKING:
    from latentsync.cli.examination import Finding

app = new_app()

MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "slow": ("!", "yellow"), "broken": ("✗", "red")}
"""Sign and colour of each state."""


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at this machine: versions, codecs, devices, number format, caches, disk, models; what would be slow.

    Exit code 1 where lip-sync cannot work. Nothing is downloaded and nothing is written.
    """
    from latentsync.cli.examination import examine

    findings = examine()
    if as_json:
        from latentsync.cli.models import write_json

        write_json([asdict(finding) for finding in findings])
    else:
        show(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def show(findings: list[Finding]) -> None:
    """One line a finding, by area; a remedy below what needs one."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    width = max(len(finding.name) for finding in findings)
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            console.print(Text(f"\n{area}" if finding is not findings[0] else area, style="bold"))
        mark, colour = MARKS[finding.state]
        console.print(Text.assemble((f"  {mark} ", colour), f"{finding.name:<{width}}  {finding.value}"))
        if finding.advice:
            console.print(Text(f"    {' ' * width}  → {finding.advice}", style=colour))
    counts = {state: sum(finding.state == state for finding in findings) for state in ("broken", "slow")}
    if counts["broken"]:
        console.print(f"\n{counts['broken']} to mend before lip-sync can work")
    elif counts["slow"]:
        console.print(f"\nready; {counts['slow']} that make it slower")
    else:
        console.print("\nready")
