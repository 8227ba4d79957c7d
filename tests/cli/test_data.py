"""`latentsync data`: what is told is what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the data extra is not installed")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--val", "0.9", "--test", "0.3"], "--val 0.9: choose shares from 0 whose sum with --test is below 1"),
        (["--given", "anna=nobody"], "--given anna=nobody: write IDENTITY=train"),
    ],
)
def test_a_share_is_named_as_its_option(run, tmp_path: Path, options: list[str], says: str) -> None:
    given = run("data", "split", tmp_path, *options)
    assert (given.code, given.out) == (2, "")
    assert given.said.startswith(f"error: {says}")


def test_an_unknown_part_is_named_as_it_was_typed(run, tmp_path: Path) -> None:
    given = run("data", "build", tmp_path, tmp_path / "out", "--set", "segment.min_s=2")
    assert (given.code, given.said) == (2, "error: --set segment.min_s=2: unknown setting; did you mean segments?")
