"""Thousands of mutated files: every one is used or refused in one line, in a process of its own that must not die."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.mutator import mutated

RUN = Path(__file__).with_name("run.py")


def test_mutations_are_known_by_their_seed() -> None:
    data = bytes(range(256)) * 4
    made = [mutated(data, seed) for seed in range(300)]
    assert made == [mutated(data, seed) for seed in range(300)]
    assert len(set(made)) > 280 and sum(each != data for each in made) > 290


def fuzz(folder: Path, seconds: float, seed: int) -> str:
    words = [sys.executable, str(RUN), str(folder), "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, timeout=seconds + 180)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def test_no_mutated_file_does_harm(tmp_path: Path) -> None:
    said = fuzz(tmp_path, 20, seed=1_000_000)
    assert " 0 failed" in said.splitlines()[-1] and int(said.splitlines()[-1].split()[0]) > 50, said


@pytest.mark.slow
def test_no_mutated_file_does_harm_in_an_hour(tmp_path: Path) -> None:
    """Length and seed: `FUZZ_SECONDS`, `FUZZ_SEED`."""
    print(fuzz(tmp_path, float(os.environ.get("FUZZ_SECONDS", 3600)), int(os.environ.get("FUZZ_SEED", 2_000_000))))
