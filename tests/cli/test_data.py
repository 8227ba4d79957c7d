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


def test_the_console_says_what_was_left_out_why_and_what_keeps_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from latentsync.cli.data import _show
    from latentsync.data.api import BuildResult
    from latentsync.data.runners.base import Tally
    from latentsync.data.settings import DataSettings

    row = {"stage": "segments", "reason": "too_short", "value": 1.5, "limit": 2.0, "kept": False, "duration_s": 1.5}
    kept = {"stage": "", "reason": "", "value": None, "limit": None, "kept": True, "duration_s": 60.0}
    _show(BuildResult(tmp_path, [row, row, kept], Tally()), DataSettings(), False, False)
    told = capsys.readouterr().out
    assert "1 of 3 clips kept, 1.0 minutes" in told
    assert (
        "2 × too_short: shots are shorter than the least length. --set segments.min_s=1.5 would let 2 of them" in told
    )


def test_training_on_a_build_that_kept_nothing_says_so(tmp_path: Path) -> None:
    from latentsync.core.errors import LatentSyncError
    from latentsync.training.datasets.folder import folder_clips

    (tmp_path / "clips").mkdir()
    (tmp_path / "manifest.parquet").touch()
    with pytest.raises(LatentSyncError, match="no clip was kept in it"):
        folder_clips(tmp_path, None)
    (tmp_path / "clips" / "a").mkdir()
    (tmp_path / "clips" / "a" / "clip.json").touch()
    with pytest.raises(LatentSyncError, match="built without arrays"):
        folder_clips(tmp_path, None)


def test_an_adapter_that_is_a_folder_is_told_as_one(tmp_path: Path) -> None:
    from latentsync.core.errors import WeightsError
    from latentsync.models.weights.adapter import read_adapter

    with pytest.raises(WeightsError, match="is a folder"):
        read_adapter(tmp_path)
