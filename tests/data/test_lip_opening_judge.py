"""The judge that hears lips: on the shipped sample, whose sound and picture are known to be together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from raw_videos import SETTINGS, run, talking

import latentsync
from latentsync.core.errors import WeightsError
from latentsync.data import data_settings, make_stages, run_stages
from latentsync.data.stages.faces import load_geometry
from latentsync.data.stages.lip_opening import LEAD_FRAMES, MIN_FRAMES, LipOpeningJudge, crop_mesh
from latentsync.media.audio import read_audio
from latentsync.metrics.lips import audible_opening
from latentsync.models.lip_opening import AUDIO_ENCODER_HOME, HOME, load_lip_opening_reader

SAMPLE = Path(latentsync.__file__).parent / "assets" / "sample"
FRAME = 640


@pytest.fixture(scope="module")
def judge() -> LipOpeningJudge:
    return LipOpeningJudge(15)


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Of the lips of the sample, as the pipeline follows them."""
    out = tmp_path_factory.mktemp("sample") / "out"
    (clip,) = run_stages(SAMPLE / "talk.mp4", out, make_stages(data_settings().resolved())[:5])
    assert clip.rejected is None
    return audible_opening(crop_mesh(load_geometry(out / clip.files["geometry"])))


def moved(wave: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The sound `frames` late between silence that is not known."""
    out = np.zeros(len(wave) + 2 * LEAD_FRAMES * FRAME, np.float32)
    known, first = np.zeros(len(out), bool), (LEAD_FRAMES + frames) * FRAME
    out[first : first + len(wave)], known[first : first + len(wave)] = wave, True
    return out, known


@pytest.mark.parametrize("frames", [-10, -3, 0, 1, 7, 10])
def test_offsets_of_the_sample_are_found_to_the_frame(judge: LipOpeningJudge, opening: np.ndarray, frames: int) -> None:
    wave = read_audio(SAMPLE / "talk.mp4")[: len(opening) * FRAME]
    found = judge.compare(opening, *judge.features_of_clip(*moved(wave, frames)))
    assert round(found.late_s * 25) == frames
    assert found.confidence > judge.correct_above
    assert (found.confidence - found.at_zero >= judge.margin) == (frames != 0)


def test_another_ones_speech_and_next_to_none_are_not_in_sync(judge: LipOpeningJudge, opening: np.ndarray) -> None:
    other = read_audio(SAMPLE / "speech.wav")[: len(opening) * FRAME]
    found = judge.compare(opening, *judge.features_of_clip(*moved(other, 0)))
    assert found.confidence < judge.correct_above
    brief = opening[: MIN_FRAMES - 1]
    assert np.isnan(judge.compare(brief, *judge.features_of_clip(*moved(other[: len(brief) * FRAME], 0))).confidence)
    still = judge.compare(np.zeros_like(opening), *judge.features_of_clip(*moved(other, 0)))
    assert still.confidence == 0


def test_the_manifest_says_that_the_lip_predictor_judged(tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "clip.mp4", 0, seed=3, steps=60)
    settings = data_settings(SETTINGS.as_dict(), {"sync.judge": "lip_opening", "sync_limits.min_confidence": -1})
    (row,) = run(tmp_path / "raw", tmp_path / "out", settings).rows
    assert row["sync_judge"] == "lip_opening"
    assert not run(tmp_path / "raw", tmp_path / "out", settings).tally.done


def test_an_lip_predictor_belongs_to_its_audio_encoder(tmp_path: Path) -> None:
    home = tmp_path / "lip_opening"
    shutil.copytree(HOME, home)
    load_lip_opening_reader(home, AUDIO_ENCODER_HOME)
    predicted = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps(predicted | {"audio_encoder": "0" * 64}))
    with pytest.raises(WeightsError, match=r"another audio encoder\. Run recipes/lip_opening\.py"):
        load_lip_opening_reader(home, AUDIO_ENCODER_HOME)
    (home / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_lip_opening_reader(home, AUDIO_ENCODER_HOME)
