"""The page of formats says what happens today."""

from __future__ import annotations

from pathlib import Path

import format_table
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
NEVER = ("frames", "size", "pixel shape", "Hz", "channels", "below", "start by")
"""What no round trip of the table may change."""


def lines() -> list[str]:
    return [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| .")]


def test_the_page_has_every_kind_and_says_of_none_that_it_loses_what_it_must_not() -> None:
    kinds = [f"| {' | '.join(case.cells)} |" for case in format_table.cases()]
    assert len(kinds) == len(set(kinds)) >= 150
    assert [line[: len(kind)] for line, kind in zip(lines(), kinds, strict=True)] == kinds
    for line in lines():
        assert not any(word in line.split("|")[-2] for word in NEVER), line


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_page_says_what_happens(part: int) -> None:
    """Every third kind; the others are slow."""
    only = slice(part, None, 3)
    assert list(format_table.rows(only)) == lines()[only]
