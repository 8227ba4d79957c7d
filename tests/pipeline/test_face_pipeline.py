"""The still references of each track, whatever order the tracks come in."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from latentsync.core.values import AlignedFace, Frame
from latentsync.faces import topology as mesh
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.references import choose_references
from latentsync.media import RgbPicture
from latentsync.pipeline import face_pipeline as dubbing
from latentsync.pipeline.chunks import FrameFaces, FrameTask
from latentsync.pipeline.face_pipeline import FacePipeline
from latentsync.pipeline.timing import StageClock
from small_sampler import PLAIN, SmallSampler

SIDE = 16
MESH = np.random.default_rng(0).uniform(0, SIDE, (468, 2)).astype(np.float32)


def scene(index: int, track: int | None) -> FrameFaces:
    """All of a track's picture has the track's number as its colour."""
    picture = RgbPicture(np.full((SIDE, SIDE, 3), 10 * (track or 0), np.uint8))
    face = None
    if track is not None:
        face = AlignedFace(track, MESH[:3], np.eye(2, 3, dtype=np.float32), MESH, 1.0)
    return FrameFaces(Frame(index, Fraction(index, 25), picture), (face,))


class FrameTasks:
    def task(self, source: FrameFaces, face: AlignedFace | None) -> FrameTask:
        return FrameTask(source, face, torch.zeros(1, 1))


@pytest.mark.parametrize(
    "tracks", ["AAAAABBBBB", "AABAAC", "ABACABC", "A.AB.BA..C", "A" * 60 + "B" + "A" * 30 + "C"], ids=str.lower
)
def test_every_track_refers_to_itself_also_when_it_comes_back(tracks: str) -> None:
    seen: list[tuple[float, float]] = []

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        seen.extend((float(crop.mean()), float(references.pictures.mean())) for crop in crops)
        return crops

    settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=PLAIN)
    paste: Any = lambda item, crop, original: item.frame  # noqa: E731
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=0, clock=StageClock()
    )
    scenes = [scene(index, None if name == "." else ord(name) - ord("A")) for index, name in enumerate(tracks)]
    made = list(face_pipeline.run(scenes, 0, FrameTasks()))  # type: ignore[arg-type]
    assert [one.frame.index for one in made] == list(range(len(tracks)))
    assert [one.is_edited for one in made] == [name != "." for name in tracks]
    assert len(seen) >= len(tracks) - tracks.count(".")
    assert all(crop == still for crop, still in seen)


def mouth(index: int, opening: int) -> FrameFaces:
    """A mouth as open as is said, in a picture whose grey level tells it."""
    points = MESH.copy()
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (2, 4), (12, 4)
    for upper, lower in mesh.INNER_LIP_PAIRS:
        points[upper], points[lower] = (8, 10), (8, 10 + opening / 4)
    picture = RgbPicture(np.full((SIDE, SIDE, 3), 20 * opening, np.uint8))
    face = AlignedFace(0, points[:3], np.eye(2, 3, dtype=np.float32), points, 1.0)
    return FrameFaces(Frame(index, Fraction(index, 25), picture), (face,))


def test_the_second_reference_is_the_most_open_mouth() -> None:
    given: list[Any] = []

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        given.append(references.pictures)
        return crops

    openings = [3, 5, 1, 9, 4, 6]
    paste: Any = lambda item, crop, original: item.frame  # noqa: E731
    for both in (False, True):
        given.clear()
        settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=replace(PLAIN, num_references=1 + both))
        face_pipeline = FacePipeline(
            SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=0, clock=StageClock()
        )
        scenes = [mouth(index, opening) for index, opening in enumerate(openings)]
        assert len(list(face_pipeline.run(scenes, 0, FrameTasks()))) == len(openings)  # type: ignore[arg-type]
        levels = [[float(crop.mean()) for crop in stills] for stills in given]
        wanted = [20 / 255, 180 / 255] if both else [20 / 255]
        assert all(each == pytest.approx(wanted, abs=1e-3) for each in levels)


class Silence:
    def __init__(self, quiet: float = 1.0) -> None:
        self.quiet = quiet

    def task(self, source: FrameFaces, face: AlignedFace | None) -> FrameTask:
        return FrameTask(source, face, torch.zeros(1, 1), quiet=self.quiet)


def test_a_pause_shows_the_closed_reference_while_the_head_is_held_as_there() -> None:
    """Frame 1 is the reference; from frame 4 on the head is elsewhere in the crop."""
    pasted: list[float] = []

    def paste(item: Any, crop: Any, original: Any) -> Frame:
        pasted.append(float(crop.mean()))
        return item.frame  # type: ignore[no-any-return]

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        return np.full_like(crops, 0.9)

    scenes = [mouth(index, opening) for index, opening in enumerate([3, 1, 4, 5])]
    for index in (4, 5):
        turned = mouth(index, 3)
        face = turned.faces[0]
        assert face is not None
        scenes.append(FrameFaces(turned.frame, (replace(face, landmarks=face.landmarks + np.float32(3)),)))
    settings = ModelSettings(resolution=SIDE, num_frames=3, tiny=PLAIN)
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=0, clock=StageClock()
    )  # type: ignore[arg-type]
    assert len(list(face_pipeline.run(scenes, 0, Silence()))) == 6  # type: ignore[arg-type]
    assert pasted[:4] == pytest.approx([20 / 255] * 4, abs=1e-3)
    assert pasted[4:] == pytest.approx([0.9] * 2, abs=1e-3)


class Halting:
    """Speech, then a pause, then speech."""

    def task(self, source: FrameFaces, face: AlignedFace | None) -> FrameTask:
        return FrameTask(source, face, torch.zeros(1, 1), quiet=float(4 <= source.frame.index < 11))


def test_nothing_is_generated_for_frames_that_show_the_reference_alone() -> None:
    asked: list[int] = []
    pasted: list[float] = []

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        asked.extend(indices)
        return np.full_like(crops, 0.9)

    def paste(item: Any, crop: Any, original: Any) -> Frame:
        pasted.append(float(crop.mean()))
        return item.frame  # type: ignore[no-any-return]

    scenes = [mouth(index, opening) for index, opening in enumerate([3, 1, *[4] * 14])]
    settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=PLAIN)
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=1, clock=StageClock()
    )  # type: ignore[arg-type]
    assert len(list(face_pipeline.run(scenes, 0, Halting()))) == 16  # type: ignore[arg-type]
    assert sorted(set(asked)) == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15]
    assert pasted == pytest.approx([0.9] * 4 + [20 / 255] * 7 + [0.9] * 5, abs=1e-3)


def test_posed_references_come_with_the_way_to_each_of_them() -> None:
    """From frame 9 on the head has moved by half a pixel: references are to be taken from there, in pauses too."""
    given: list[Any] = []
    pasted: list[float] = []

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        given.extend(zip(indices, references.moves, strict=True))
        return np.full_like(crops, 0.9)

    def paste(item: Any, crop: Any, original: Any) -> Frame:
        pasted.append(float(crop.mean()))
        return item.frame  # type: ignore[no-any-return]

    scenes = [mouth(index, opening) for index, opening in enumerate([3, 1, 4, 4, 4, 4, 4, 4, 4])]
    for index in range(9, 24):
        moved = mouth(index, 3)
        face = moved.faces[0]
        assert face is not None
        scenes.append(FrameFaces(moved.frame, (replace(face, landmarks=face.landmarks + np.float32([0.5, 0])),)))
    settings = ModelSettings(resolution=SIDE, num_frames=3, tiny=replace(PLAIN, num_references=2, warp="pose"))
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=0, clock=StageClock()
    )  # type: ignore[arg-type]
    assert len(list(face_pipeline.run(scenes, 0, Silence(0.9999)))) == 24  # type: ignore[arg-type]
    at = {index: (np.array([0, 0, 0, 1]) @ moves - (0.5, 0.42)) * SIDE for index, moves in given}
    assert at[1] == pytest.approx(np.zeros((2, 2)), abs=0.02)
    assert at[23] == pytest.approx(np.array([[-0.5, 0.0]] * 2), abs=0.02)
    across = np.array([at[index][0, 0] for index in range(24)])
    assert (np.diff(across) < 0.01).all() and np.diff(across).min() > -0.4  # on the way, not in one jump
    assert pasted == pytest.approx([20 / 255] * 24, abs=1e-3)


def test_of_equally_closed_mouths_the_reference_is_one_of_a_head_at_rest() -> None:
    """Frame 2 is the most closed by a hair, but there the head has turned away; frame 5 is as good and where it is."""
    openings = np.array([10, 9, 0, 8, 10, 0.3, 10, 9.9], np.float32)
    points = np.repeat(MESH[None], len(openings), axis=0)
    points[:, mesh.LEFT_EYE_OUTER], points[:, mesh.RIGHT_EYE_OUTER] = (2, 4), (12, 4)
    for upper, lower in mesh.INNER_LIP_PAIRS:
        points[:, upper] = (8, 10)
        points[:, lower] = np.stack([np.full(len(openings), 8), 10 + openings / 4], axis=1)
    points[2] += 2
    points[4] += 2
    closed, wide = choose_references(points)
    assert closed == 5
    assert wide in (0, 6, 7) and wide != 4
    assert choose_references(points[2:3]) == [0, 0]


def test_frames_that_two_chunks_share_are_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[float] = []
    extract = dubbing.extract_crop

    def counted(picture: Any, *args: Any) -> Any:
        cut.append(float(picture.rgb().mean()))
        return extract(picture, *args)

    monkeypatch.setattr(dubbing, "extract_crop", counted)
    seen: list[float] = []

    def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
        seen.extend(float(crop.mean()) * 255 / 10 for crop in crops)
        return crops.copy()

    settings = ModelSettings(resolution=SIDE, num_frames=4)
    paste: Any = lambda item, crop, original: item.frame  # noqa: E731
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=2, clock=StageClock()
    )
    list(
        face_pipeline.run(
            [replace(mouth(index, index // 2), faces=scene(0, 0).faces) for index in range(8)], 0, FrameTasks()
        )
    )  # type: ignore[arg-type]
    assert len(cut) == 8
    np.testing.assert_allclose(seen, [0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6], atol=1e-4)


@pytest.mark.parametrize(("sets", "people", "pulled"), [(1, 1, 75), (2, 1, 100), (2, 4, 25), (2, 20, 8)])
def test_what_is_held_back_for_the_stills_is_bounded_by_the_pictures_size(
    monkeypatch: pytest.MonkeyPatch, sets: int, people: int, pulled: int
) -> None:
    monkeypatch.setattr(dubbing, "HELD_PIXELS", 100 * SIDE * SIDE)
    settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=PLAIN)
    asked: list[int] = []

    def scenes() -> Any:
        for index in range(300):
            asked.append(index)
            yield scene(index, 0)

    paste: Any = lambda item, crop, original: item.frame  # noqa: E731
    generate: Any = lambda crops, *_: crops  # noqa: E731
    face_pipeline = FacePipeline(
        SmallSampler(generate, settings.tiny), paste, settings, sets=sets, overlap=0, clock=StageClock(), people=people
    )
    next(face_pipeline.run(scenes(), 0, FrameTasks()))  # type: ignore[arg-type]
    assert pulled <= len(asked) <= pulled + 1


def test_two_people_are_turned_each_as_if_alone() -> None:
    """Chunks of the second come between those of the first, whose head turns slowly."""

    def turning(index: int, track: int) -> FrameFaces:
        one = mouth(index, 3)
        face = one.faces[0]
        assert face is not None
        points = face.landmarks + np.float32([0.1 * index if track else -0.07 * index, 0])
        return FrameFaces(one.frame, (replace(face, track_id=track, landmarks=points),))

    def ways(both: bool) -> list[np.ndarray]:
        given: list[tuple[int, np.ndarray]] = []

        def generate(crops: Any, windows: Any, indices: Any, references: Any) -> Any:
            given.append((indices[0], references.moves))
            return crops

        settings = ModelSettings(resolution=SIDE, num_frames=4, tiny=replace(PLAIN, warp="pose"))
        paste: Any = lambda item, crop, original: item.frame  # noqa: E731
        face_pipeline = FacePipeline(
            SmallSampler(generate, settings.tiny), paste, settings, sets=1, overlap=0, clock=StageClock()
        )
        first = face_pipeline.run([turning(index, 0) for index in range(24)], 0, FrameTasks())  # type: ignore[arg-type]
        second = face_pipeline.run([turning(index, 1) for index in range(24)], 0, FrameTasks())  # type: ignore[arg-type]
        kept = []
        for _ in range(24):
            before = len(given)
            next(first)
            kept += [moves for _, moves in given[before:]]
            if both:
                next(second)
        return kept

    alone, beside = ways(False), ways(True)
    assert len(alone) == len(beside) == 6
    np.testing.assert_array_equal(np.concatenate(alone), np.concatenate(beside))
