"""Two runs never share a folder, and a killed one keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentsync.core.errors import LatentSyncError
from latentsync.core.locks import try_lock
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.preflight import check_out
from latentsync.training.engine.trainer import Trainer
from training.toy_task import Toy

TESTS = Path(__file__).parents[1]
SHORT = TrainConfig(steps=2, batch_size=8, tensorboard=False, validate_every_s=None)


def command(out: Path) -> list[str]:
    (out.parent / "data").mkdir(exist_ok=True)
    (out.parent / "data" / "clip").write_text("x")
    sets = ("steps=1000000", "batch_size=8", "workers=1", "save_every_s=1", "tensorboard=false")
    given = ["--data", str(out.parent / "data"), "--out", str(out), *(f"--set=loop.{each}" for each in sets)]
    return [sys.executable, "-m", "latentsync", "train", "training.toy_task", *given]


def environment() -> dict[str, str]:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@contextmanager
def at_work(out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose loader's process is there; it is killed at the end, whatever happens."""
    said = out.parent / "said.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(command(out), env=environment(), stderr=file)
    try:
        until = time.monotonic() + 300
        while not any((out / "states").glob("step-*[1-9]*")):  # not step 0, which is written before the first batch
            assert process.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_second_run_in_the_folder_is_refused_until_the_first_is_gone_however_it_went(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with at_work(out) as first:
        second = subprocess.run(command(out), env=environment(), capture_output=True, text=True, timeout=300)
        assert second.returncode == 1
        said = " ".join(second.stderr.split())
        assert "another run is at work in it. Wait for it, stop it, or choose another --out." in said
        assert "Traceback" not in second.stderr
        with pytest.raises(LatentSyncError, match="another run is at work"):
            Trainer(Toy(), SHORT, out, fresh=True).run()
        assert first.poll() is None and any((out / "states").glob("step-*")), "the first one was not touched"
    with try_lock(out / "lock") as ours:
        assert ours, "the loader's process, which may still live, holds it"
    assert Trainer(Toy(), SHORT, out, fresh=True).run().step == 2


def test_the_folder_is_free_again_after_a_run_and_after_one_that_failed(tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match="rollbacks"):
        Trainer(Toy({"nan_at": -1}), SHORT, tmp_path).run()
    check_out(tmp_path)
    Trainer(Toy(), SHORT, tmp_path, fresh=True).run()
    check_out(tmp_path)


def test_two_places_of_one_process_cannot_both_hold_a_file(tmp_path: Path) -> None:
    with try_lock(tmp_path / "lock") as one:
        with try_lock(tmp_path / "lock") as two:
            assert (one, two) == (True, False)
        with pytest.raises(LatentSyncError, match="another run is at work"):
            check_out(tmp_path)
        check_out(tmp_path, first=False)  # further processes of the same run do not ask
    with try_lock(tmp_path / "lock") as one:
        assert one
