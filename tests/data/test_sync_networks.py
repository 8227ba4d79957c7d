"""Judge networks in the sync stage: windows at their places, offsets with their sign, files of both formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from raw_videos import SETTINGS, late, run, sound_of, talking
from safetensors.torch import save_file
from talkers import babble, portrait
from torch import Tensor, nn

from latentsync.cli.main import main
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.data.settings import DataSettings, data_settings
from latentsync.data.stages import sync_networks
from latentsync.data.stages.sync_networks import LEAD_FRAMES, OwnJudge
from latentsync.evaluation.networks import load_judges
from latentsync.evaluation.watching import Watched

FRAMES = 16
SIDE = 128


class Seer(nn.Module):
    """Darkness of each of the 16 frames, less their mean: (B, 48, 64, 128) → (B, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: Tensor) -> Tensor:
        levels = self.sign * x.unflatten(1, (FRAMES, 3)).mean(dim=(2, 3, 4))
        return levels - levels.mean(dim=1, keepdim=True)


class Hearer(nn.Module):
    """Loudness at each of the 16 frames, less its mean: (B, 1, 80, 52) → (B, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        levels = self.one * nn.functional.interpolate(x.amax(dim=2), FRAMES, mode="linear")[:, 0]
        return levels - levels.mean(dim=1, keepdim=True)


class HandMade(nn.Module):
    """A SyncNet that needs no training on talkers whose mouth is as open as they are loud."""

    def __init__(self) -> None:
        super().__init__()
        self.visual_encoder, self.audio_encoder = Seer(), Hearer()


@pytest.fixture
def component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "component"
    folder.mkdir()
    given = {
        "input": "pixel",
        "num_frames": FRAMES,
        "resolution": SIDE,
        "lower_half": True,
        "model": {"made": "by hand"},
    }
    (folder / "config.json").write_text(json.dumps(given))
    save_file({"one": torch.ones(1)}, folder / "model.safetensors")
    monkeypatch.setattr("latentsync.models.weights.loaders.load_syncnet", lambda *_: HandMade())
    return folder


def settings_with(judge: Path, **changes: Any) -> DataSettings:
    limits = {"sync_limits": {"min_confidence": 0.05, "correct_above": 0.05, "margin": 0.02}}
    return data_settings(
        SETTINGS.as_dict(), {"sync.judge": str(judge), "segments.max_s": 6}, limits, {"write.training": False}, changes
    )


def audio_features_with_lead(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lead = LEAD_FRAMES * 640
    known = np.zeros(len(wave) + 2 * lead, bool)
    known[lead : lead + len(wave)] = True
    return np.pad(wave, lead), known


def test_every_shift_is_found_to_the_frame(component: Path) -> None:
    judge = OwnJudge(component, 12)
    opening = babble(7, 75)
    seen = judge.see(np.stack([portrait(float(value), 0) for value in opening]))
    assert seen.shape == (75 - FRAMES + 1, FRAMES)
    for frames in range(-10, 11):
        found = judge.compare(seen, *judge.features_of_clip(*audio_features_with_lead(late(sound_of(opening), frames))))
        assert round(found.late_s * 25) == frames
        assert found.confidence >= found.at_zero


def test_sound_around_the_clip_is_heard_and_its_lack_is_known(component: Path) -> None:
    judge = OwnJudge(component, 15)
    opening = babble(9, 125)
    wave = sound_of(opening)
    seen = judge.see(np.stack([portrait(float(value), 0) for value in opening[50:76]]))
    lead = LEAD_FRAMES * 640
    around = wave[50 * 640 - lead : 76 * 640 + lead]
    audio_features, there = judge.features_of_clip(around, np.ones(len(around), bool))
    assert there.all()
    assert len(audio_features) >= len(seen) + 2 * 15
    assert judge.compare(seen, audio_features, there).late_s == 0
    alone = judge.compare(seen, *judge.features_of_clip(*audio_features_with_lead(wave[50 * 640 : 76 * 640])))
    assert np.isnan(alone.confidence)  # eleven windows: most lags have next to no pairs


def test_the_judge_of_a_build_says_what_the_judge_of_the_tables_says(component: Path) -> None:
    """Where no sound around the clip is known, both compare the same windows."""
    opening = babble(7, 75)
    crops = np.stack([portrait(float(value), 0) for value in opening])
    wave = late(sound_of(opening), 4)
    build, tables = OwnJudge(component, 10), load_judges(own=component).own
    assert tables is not None
    nowhere = np.zeros((75, 468, 2), np.float32)
    watched = Watched(np.arange(75) / 25, nowhere, np.zeros((75, 2, 3), np.float32), crops, (SIDE, SIDE))
    said, score = (
        build.compare(build.see(crops), *build.features_of_clip(*audio_features_with_lead(wave))),
        tables(watched, None, wave),
    )
    assert score is not None
    assert round(said.late_s * 25) == -score.av_offset_frames == 4
    assert said.confidence == pytest.approx(score.sync_confidence, abs=0.05)


@pytest.mark.parametrize("frames", [0, 7])
def test_a_late_sound_is_found_and_corrected_by_a_network(component: Path, tmp_path: Path, frames: int) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, late_frames=frames, steps=100)
    (row,) = run(tmp_path / "raw", tmp_path / "out", settings_with(component)).rows
    assert row["kept"], row
    assert row["sync_judge"] == "own"
    assert abs(row["sound_shift_s"] - frames / 25) <= 0.02
    assert row["sync_confidence"] >= row["confidence_at_zero"]


def test_other_weights_are_measured_anew_and_moved_ones_are_not(component: Path, tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, steps=60)
    run(tmp_path / "raw", tmp_path / "out", settings_with(component))
    moved = component.rename(tmp_path / "elsewhere")
    assert not run(tmp_path / "raw", tmp_path / "out", settings_with(moved)).tally.done
    save_file({"one": torch.zeros(1)}, moved / "model.safetensors")
    assert "sync" in run(tmp_path / "raw", tmp_path / "out", settings_with(moved)).tally.done


def test_a_judge_that_is_not_there_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, steps=60)
    with pytest.raises(WeightsError, match="no such file"):
        run(tmp_path / "raw", tmp_path / "out", settings_with(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as left:
        main(["data", "build", str(tmp_path / "raw"), str(tmp_path / "out"), "--syncnet", str(tmp_path / "nowhere")])
    assert left.value.code == 1
    assert "no such file" in capsys.readouterr().err


def test_a_damaged_judge_and_a_missing_scorer_are_told_before_any_work(tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, steps=60)
    (tmp_path / "judge.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"judge\.pt"):
        run(tmp_path / "raw", tmp_path / "out", settings_with(tmp_path / "judge.pt"))
    with pytest.raises(ConfigError, match="cannot be imported"):
        run(tmp_path / "raw", tmp_path / "out", data_settings({"quality.scorer": "python:nowhere:f"}))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_public_syncnet_v2_file_judges(tmp_path: Path) -> None:
    """Random weights in the published file format: read, run on crops of its own, and named as the judge."""
    from latentsync.models import SyncNetV2

    torch.manual_seed(0)
    old = {key: value for key, value in SyncNetV2().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, steps=45)
    public = {"sync.judge_v2": str(tmp_path / "syncnet_v2.model"), "sync_limits.min_confidence": -1}
    (row,) = run(tmp_path / "raw", tmp_path / "out", data_settings(SETTINGS.as_dict(), public)).rows
    assert row["sync_judge"] == "syncnet_v2"
    assert row["sync_confidence"] >= row["confidence_at_zero"]
    assert sync_networks.V2Judge.min_confidence == 3
