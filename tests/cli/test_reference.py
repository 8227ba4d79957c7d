"""docs/cli.md is what the commands say today."""

from __future__ import annotations

from pathlib import Path

from latentsync.cli.main import COMMANDS
from latentsync.cli.reference import reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_current() -> None:
    now = reference()
    assert (DOCS / "cli.md").read_text("utf-8") == now, "run: python -m latentsync.cli.reference > docs/cli.md"


def test_it_has_every_command_and_a_known_option() -> None:
    page = reference()
    for name in COMMANDS:
        assert f"# latentsync {name}\n" in page
    assert "`--out OUT`, `-o OUT` | Video to write" in page
