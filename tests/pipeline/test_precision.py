"""Devices that are not there or too small are told in one line. No card is needed: torch's answers are planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import whole_runs

import micro_model
import planted
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.generation.precision import choose_device
from latentsync.pipeline import Lipsync

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
METAL = RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)")


def test_a_card_that_is_not_there_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda")
    with pytest.raises(ConfigError, match="no such card here; choose cuda:0, cuda:1 or cpu"):
        choose_device("cuda:2")


@pytest.mark.parametrize("error", [CUDA, METAL], ids=["cuda", "metal"])
def test_too_little_memory_says_what_helps_and_leaves_nothing(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def full(*_: object, **__: object) -> Any:
        raise error

    model, video = micro_model.lipsync(planted.PlantedTracker()), whole_runs.film(tmp_path / "a.mp4")
    monkeypatch.setattr(model.networks.unet, "forward", full)
    with pytest.raises(LatentSyncError, match=r"memory does not suffice for model micro.*smaller model.*tiny"):
        model(video, speech, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()
    model.save_pretrained(tmp_path / "micro")
    to = torch.nn.Module.to

    def moved(network: torch.nn.Module, *where: object, **more: object) -> torch.nn.Module:
        return full() if isinstance(where[0], torch.device) else to(network, *where, **more)  # type: ignore[arg-type, no-any-return]

    monkeypatch.setattr(torch.nn.Module, "to", moved)
    with pytest.raises(LatentSyncError, match="memory does not suffice"):
        Lipsync.from_pretrained(tmp_path / "micro", device="cpu")


def test_other_errors_of_the_networks_are_ours_and_fly(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not fit")

    model, video = micro_model.lipsync(planted.PlantedTracker()), whole_runs.film(tmp_path / "a.mp4")
    monkeypatch.setattr(model.networks.unet, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        model(video, speech, tmp_path / "o.mp4")
