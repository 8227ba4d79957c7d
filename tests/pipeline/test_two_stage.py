"""Chunks made beside the thread that cuts and pastes: the same frames, in order, and nothing left behind."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_face_pipeline import SIDE, FrameTasks, Halting, scene

from latentsync.core.errors import Stopped
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.config import TinyConfig
from latentsync.pipeline import face_pipeline as dubbing
from latentsync.pipeline import two_stage as conveyors
from latentsync.pipeline.chunks import FrameFaces
from latentsync.pipeline.face_pipeline import FacePipeline
from latentsync.pipeline.timing import StageClock
from latentsync.pipeline.two_stage import TwoStageExecutor, executor_for
from small_sampler import PLAIN, SmallSampler


class Made(SmallSampler):
    """Crops that tell their frame and their chunk; tells which threads made them and what was under way at once."""

    def __init__(self, fails_at: int | None = None, tiny: TinyConfig | None = PLAIN) -> None:
        super().__init__(lambda *given: given, tiny)
        self.threads: set[str] = set()
        self.begun, self.finished, self.fails_at = 0, 0, fails_at

    def prepare(self, inputs: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        self.begun += 1
        return inputs.crops, list(inputs.frames)

    def finish(self, prepared: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        crops, frames = prepared
        if self.fails_at in frames:
            raise Stopped("stopped")
        self.finished += 1
        out = np.empty_like(crops)
        out[:] = np.array(frames, np.float32)[:, None, None, None] + np.float32(frames[0] / 1024)
        return out


def dubbed(
    made: Made, tracks: str, sets: int, overlap: int, beside: TwoStageExecutor | None
) -> list[tuple[int, bool, float]]:
    """(index, edited, colour pasted) of each frame."""
    settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=PLAIN)
    colours: dict[int, float] = {}

    def paste(item: Any, crop: Any, original: Any) -> Any:
        colours[item.frame.index] = float(crop.mean())
        return item.frame

    face_pipeline = FacePipeline(made, paste, settings, sets, overlap, StageClock(), executor=beside)  # type: ignore[arg-type]
    scenes = [scene(index, None if name == "." else ord(name) - ord("A")) for index, name in enumerate(tracks)]
    hearing: Any = Halting() if "." not in tracks else FrameTasks()
    return [
        (one.frame.index, one.is_edited, colours.get(one.frame.index, -1.0))
        for one in face_pipeline.run(scenes, 0, hearing)
    ]


@pytest.mark.parametrize("tracks", ["A" * 23, "AAAAABBBBBB", "A.AB.BA..C", "AAAAAAAAAA..AAAAAAAA"], ids=str.lower)
@pytest.mark.parametrize(("sets", "overlap"), [(1, 0), (1, 2), (2, 1)])
def test_frames_are_those_of_one_thread_in_order(tracks: str, sets: int, overlap: int) -> None:
    alone = dubbed(Made(), tracks, sets, overlap, None)
    made = Made()
    with TwoStageExecutor(made) as beside:
        assert dubbed(made, tracks, sets, overlap, beside) == alone
    assert [index for index, _, _ in alone] == list(range(len(tracks)))
    assert len(made.threads) == 2 and threading.current_thread().name not in made.threads


def test_what_fails_is_raised_where_its_frames_would_come() -> None:
    made = Made(fails_at=13)
    with pytest.raises(Stopped), TwoStageExecutor(made) as beside:
        dubbed(made, "A" * 40, 1, 0, beside)
    assert made.finished <= 5
    assert not [thread for thread in threading.enumerate() if thread.name in made.threads]


def test_only_some_chunks_are_begun_before_their_frames_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled: list[int] = []

    def scenes() -> Any:
        for index in range(60):
            pulled.append(index)
            yield scene(index, 0)

    paste: Any = lambda item, crop, original: item.frame  # noqa: E731
    settings = ModelSettings(resolution=SIDE, num_frames=4)
    for budget, ahead in ((8 * SIDE * SIDE, 2), (4 * SIDE * SIDE, 1), (SIDE * SIDE, 0)):
        monkeypatch.setattr(dubbing, "AHEAD_PIXELS", budget)
        pulled.clear()
        made = Made(tiny=None)
        with TwoStageExecutor(made) as beside:
            face_pipeline = FacePipeline(made, paste, settings, 1, 0, StageClock(), executor=beside)
            frames = face_pipeline.run(scenes(), 0, FrameTasks())  # type: ignore[arg-type]
            first = next(frames)
            assert isinstance(first, FrameFaces) and first.frame.index == 0
            assert len(pulled) <= 4 * (1 + ahead) + 1
            frames.close()  # type: ignore[attr-defined]
        assert made.begun <= 1 + ahead


def test_large_networks_and_other_devices_do_one_thing_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    part = torch.nn.Linear(4, 4)
    for device, limit, works in (("cpu", 40, True), ("cpu", 39, False), ("meta", 40, False)):
        networks: Any = SimpleNamespace(unet=part, autoencoder=part, device=torch.device(device))
        monkeypatch.setattr(conveyors, "LIGHT_PARAMETERS", limit)
        with executor_for(Made(), networks) as beside:
            assert (beside is not None) is works
    with executor_for(Made(), None) as beside:
        assert beside is None


def test_each_stage_has_half_of_torchs_threads_and_others_keep_theirs() -> None:
    counts: dict[str, int] = {}

    class Counting(Made):
        def prepare(self, inputs: Any) -> Any:
            torch.mm(torch.ones(64, 64), torch.ones(64, 64))
            counts["encode"] = torch.get_num_threads()
            return super().prepare(inputs)

        def finish(self, prepared: Any) -> Any:
            counts["draw"] = torch.get_num_threads()
            return super().finish(prepared)

    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        made = Counting()
        with TwoStageExecutor(made) as beside:
            dubbed(made, "AAAAAAAA", 1, 0, beside)
            later = threading.Thread(target=lambda: counts.__setitem__("later", torch.get_num_threads()))
            later.start()
            later.join()
            assert torch.get_num_threads() == 6
        assert counts == {"encode": 3, "draw": 3, "later": 6}
    finally:
        torch.set_num_threads(before)
