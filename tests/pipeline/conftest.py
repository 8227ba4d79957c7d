"""A small real model that follows planted faces, and a speech for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import whole_runs

import micro_model
import planted
from latentsync.pipeline import Lipsync


@pytest.fixture(scope="module")
def model() -> Lipsync:
    return micro_model.lipsync(planted.PlantedTracker())


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return whole_runs.sound(tmp_path / "speech.wav", 0.4)
