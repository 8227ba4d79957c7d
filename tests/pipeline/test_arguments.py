"""What is passed in Python by mistake is refused with the remedy, and nothing that is asked for is passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_runs import WAVE, arrays, film

from latentsync.config.options import SyncOptions
from latentsync.config.plan import Plan, PlanEntry
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.pipeline import Lipsync


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"video": np.zeros((2, 8, 8, 3), np.uint8)}, "video='ndarray': give the path of a file; `Lipsync.stream`"),
        ({"audio": WAVE}, "audio='ndarray': give the path of a file; `Lipsync.stream` takes sound in memory"),
        ({"out": 5}, "out='int': give the path of a file"),
        ({"out": ""}, "out=\"''\": give the path of a file"),
        ({"cache": 5}, "cache='int'"),
        ({"audio": None, "plan": [1]}, "plan='list': give the path of a file, or a Plan of PlanEntry"),
        ({"options": {"seed": 3}}, "options='dict': give a SyncOptions, or its fields one by one: seed=3"),
    ],
)
def test_a_wrong_kind_of_argument_is_told(
    model: Lipsync, tmp_path: Path, speech: Path, given: dict[str, Any], says: str
) -> None:
    usual: dict[str, Any] = {"video": film(tmp_path / "a.mp4"), "audio": speech, "out": tmp_path / "o.mp4"}
    with pytest.raises(ConfigError) as caught:
        model(**usual | given)
    assert str(caught.value).startswith(says)
    assert not (tmp_path / "o.mp4").exists()


def test_a_length_in_the_options_beside_a_plan_is_refused(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video, plan = film(tmp_path / "a.mp4"), Plan((PlanEntry(audio=speech),))
    for options in (SyncOptions(length="audio"), SyncOptions(length="hold")):
        with pytest.raises(ConfigError, match="leave it out: with a plan"):
            model(video, out=tmp_path / "o.mp4", plan=plan, options=options)
    for options in (SyncOptions(), SyncOptions(length="video")):
        assert model(video, out=tmp_path / "o.mp4", plan=plan, options=options).num_frames == 10


@pytest.mark.parametrize("changes", [{"start_s": 0.4}, {"end_s": 1}, {"length": "video"}])
def test_a_stream_takes_no_part_and_no_length(model: Lipsync, changes: dict[str, Any]) -> None:
    for given in (changes, {"options": SyncOptions(**changes)}):
        with pytest.raises(ConfigError, match="leave it out: a stream uses all the frames"):
            next(iter(model.stream(arrays(4), WAVE, **given)))


def test_an_array_may_be_filled_with_the_next_picture(model: Lipsync) -> None:
    shown = [np.roll(picture, number, axis=1) for number, picture in enumerate(arrays(10))]
    buffer = np.empty_like(shown[0])

    def refilled() -> Iterator[np.ndarray]:
        for picture in shown:
            buffer[:] = picture
            yield buffer

    made = zip(model.stream(refilled(), WAVE), model.stream(shown, WAVE), strict=True)
    assert all((one == other).all() for one, other in made)


def test_samples_of_integers_are_no_sound(model: Lipsync) -> None:
    for wave in ((WAVE * 32767).astype(np.int16), WAVE * 32767):
        with pytest.raises(ConfigError, match="of 16-bit samples: "):
            next(iter(model.stream(arrays(4), wave)))
    assert len(list(model.stream(arrays(4), WAVE * 3))) == 4


def test_files_of_a_model_may_be_named_in_words(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such file\. --face-model needs a folder"):
        Lipsync.from_pretrained("tiny", face_model=str(tmp_path))
    with pytest.raises(WeightsError, match=r"a\.safetensors: no such file"):
        Lipsync.from_pretrained("tiny", adapter=str(tmp_path / "a.safetensors"))
