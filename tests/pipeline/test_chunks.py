"""Chunks: every frame once and in order, never across a cut or a gap, never shorter than they need to be."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentsync.core.values import AlignedFace, Frame
from latentsync.media import RgbPicture
from latentsync.pipeline.chunks import Chunk, FrameFaces, FrameTask, make_chunks, num_sets

PICTURE = RgbPicture(np.zeros((2, 2, 3), np.uint8))
POINTS = np.zeros((3, 2), np.float32)


def item(index: int, track: int | None, strength: float = 1.0) -> FrameTask:
    face = None
    if track is not None:
        face = AlignedFace(track, POINTS, np.eye(2, 3, dtype=np.float32), np.zeros((468, 2), np.float32), 1.0)
    return FrameTask(FrameFaces(Frame(index, Fraction(index, 25), PICTURE), (face,)), face, torch.zeros(1, 1), strength)


def runs(lengths: list[tuple[int | None, int]]) -> list[FrameTask]:
    tracks = [track for track, length in lengths for _ in range(length)]
    return [item(index, track) for index, track in enumerate(tracks)]


def delivered(chunks: list[Chunk]) -> list[int]:
    return [i.frame.index for c in chunks for i in c.tasks[c.num_old : len(c.tasks) - c.num_held]]


tracks = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.integers(1, 40)), max_size=6)


@given(tracks, st.integers(1, 16), st.data())
def test_every_frame_is_delivered_once_in_order_whatever_comes(
    lengths: list[tuple[int | None, int]], size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    items = runs(lengths)
    chunks = list(make_chunks(items, size, overlap))
    assert delivered(chunks) == list(range(len(items)))
    for chunk in chunks:
        assert len({i.track_id for i in chunk.tasks}) == 1
        indices = [i.frame.index for i in chunk.tasks]
        assert indices == list(range(indices[0], indices[0] + len(indices)))
        assert len(chunk.tasks) <= size


@given(st.integers(1, 100), st.integers(2, 16), st.data())
def test_a_run_has_full_chunks_only_and_hands_over_what_it_holds_back(
    length: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    chunks = list(make_chunks(runs([(0, length)]), size, overlap))
    assert all(len(c.tasks) == min(size, length) for c in chunks)
    assert chunks[0].num_shared == chunks[0].num_old == 0
    assert chunks[-1].num_held == 0
    for before, after in pairwise(chunks):
        held = [i.frame.index for i in before.tasks[len(before.tasks) - before.num_held :]]
        shared = [i.frame.index for i in after.tasks[after.num_old : after.num_old + after.num_shared]]
        assert held == shared


def test_frames_without_a_face_come_at_once_and_alone() -> None:
    source = iter(runs([(None, 3), (0, 5)]))
    chunks = make_chunks(source, 4, 0)
    assert [len(next(chunks).tasks) for _ in range(3)] == [1, 1, 1]
    assert next(source).frame.index == 3  # nothing was read ahead


def test_a_mouth_that_is_not_wanted_is_not_made() -> None:
    chunks = list(make_chunks([item(0, 0, strength=0.0), item(1, 0)], 4, 0))
    assert [c.is_edited for c in chunks] == [False, True]


@pytest.mark.parametrize(
    ("fps", "sets"), [(12, 1), (24, 1), (30, 1), (32, 1), (48, 2), (50, 2), (60, 2), (100, 4), (120, 5)]
)
def test_fast_video_is_dealt_into_sets_near_the_rate_of_training(fps: int, sets: int) -> None:
    assert num_sets(Fraction(fps), 25.0) == sets


def test_an_overlap_as_long_as_the_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap 4"):
        list(make_chunks(runs([(0, 9)]), 4, 4))
