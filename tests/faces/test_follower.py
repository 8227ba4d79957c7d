"""The follower on scripted faces: choice, holding, misses, cuts, refusals, lookahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from face_scenes import ScriptedTracker, load, mesh_at, textured, video, wall

from latentsync.core.errors import ConfigError, MediaError, NoFaceError
from latentsync.core.values import AlignedFace, Frame
from latentsync.faces import FaceFollower, FollowerConfig, alignment_matrix, alignment_points
from latentsync.faces.pose import yaw_deg
from latentsync.faces.protocol import FaceTracker

BACK = wall(640, 480)
OTHER = textured(640, 480, 7, 14.0)
Script = Callable[[Frame], Sequence[tuple[int, np.ndarray]]]


def run(
    script: Script, images: list[np.ndarray], choice: str = "largest"
) -> tuple[list[AlignedFace | None], FaceFollower]:
    tracker = ScriptedTracker(script)
    follower = FaceFollower(tracker, choice)
    out = list(follower.follow(video(images)))
    assert [frame.index for frame, _ in out] == list(range(len(images)))
    assert tracker.opened == tracker.closed
    return [face for _, face in out], follower


def ids(faces: list[AlignedFace | None]) -> list[int | None]:
    return [None if face is None else face.track_id for face in faces]


def test_one_moving_face_is_aligned_in_every_frame() -> None:
    faces, follower = run(lambda f: [(0, mesh_at((200 + 3 * f.index, 240), roll_deg=f.index))], [BACK] * 30)
    assert follower.counts == {"face": 30}
    for index, face in enumerate(faces):
        assert face is not None
        expected = alignment_points(mesh_at((200 + 3 * index, 240), roll_deg=index))
        assert np.abs(face.points - expected).max() < 0.3
        np.testing.assert_allclose(face.frame_to_crop, alignment_matrix(face.points, 256), atol=1e-3)
        assert face.landmarks.shape == (468, 2)


def test_lips_keep_their_motion_while_the_head_is_smoothed() -> None:
    """A lip point that flutters against a still head stays where it was tracked."""
    lip = 14

    def script(frame: Frame) -> list[tuple[int, np.ndarray]]:
        mesh = mesh_at((300, 240))
        mesh[lip] += (0, 6 * (frame.index % 2))
        return [(0, mesh)]

    faces, _ = run(script, [BACK] * 20)
    heights = np.array([face.landmarks[lip, 1] for face in faces if face is not None])
    assert np.abs(np.diff(heights)).min() == pytest.approx(6, abs=0.05)


CHOICES = {"largest": 1, "left": 2, "right": 0, "0": 2, "1": 1, "2": 0, "560,200": 0, "330,250": 1}


@pytest.mark.parametrize(("choice", "expected"), CHOICES.items())
def test_choice_among_three(choice: str, expected: int) -> None:
    people = [(0, mesh_at((550, 200), 80)), (1, mesh_at((320, 240), 140)), (2, mesh_at((90, 220), 70))]
    faces, _ = run(lambda f: people, [BACK] * 12, choice)
    assert ids(faces) == [expected] * 12


@pytest.mark.parametrize("choice", ["3", "10,470"])
def test_nobody_meant_is_nobody_edited(choice: str) -> None:
    faces, follower = run(lambda f: [(0, mesh_at((300, 200)))], [BACK] * 10, choice)
    assert ids(faces) == [None] * 10 and follower.counts == {"not_chosen": 10}


def test_the_face_is_held_when_another_grows_larger() -> None:
    faces, _ = run(lambda f: [(0, mesh_at((150, 240), 100)), (1, mesh_at((450, 240), 60 + 4 * f.index))], [BACK] * 30)
    assert ids(faces) == [0] * 30


def test_no_swap_to_a_neighbour_when_the_face_leaves() -> None:
    def script(frame: Frame) -> list[tuple[int, np.ndarray]]:
        neighbour = (1, mesh_at((450, 240), 80))
        return [(0, mesh_at((150, 240), 120)), neighbour] if frame.index < 10 else [neighbour]

    faces, follower = run(script, [BACK] * 30)
    assert ids(faces) == [0] * 10 + [None] * 20
    assert follower.counts == {"face": 10, "not_chosen": 20}


def test_a_cut_means_a_new_choice() -> None:
    def script(frame: Frame) -> list[tuple[int, np.ndarray]]:
        if frame.index < 15:
            return [(0, mesh_at((150, 240), 120)), (1, mesh_at((450, 240), 80))]
        return [(2, mesh_at((150, 240), 60)), (3, mesh_at((450, 240), 90))]

    tracker = ScriptedTracker(script)
    out = list(FaceFollower(tracker, "largest").follow(video([BACK] * 15 + [OTHER] * 15)))
    assert ids([face for _, face in out]) == [0] * 15 + [3] * 15
    assert tracker.cuts == [0, 15]


def test_smoothing_does_not_reach_over_a_cut() -> None:
    def script(frame: Frame) -> list[tuple[int, np.ndarray]]:
        return [(int(frame.index >= 12), mesh_at((150 if frame.index < 12 else 450, 240)))]

    faces, _ = run(script, [BACK] * 12 + [OTHER] * 12)
    for index, face in enumerate(faces):
        assert face is not None
        expected = alignment_points(mesh_at((150 if index < 12 else 450, 240)))
        np.testing.assert_allclose(face.points, expected, atol=0.01)


@pytest.mark.parametrize(("missing", "bridged"), [(1, True), (3, True), (4, False), (8, False)])
def test_short_misses_are_filled_and_long_ones_are_not(missing: int, bridged: bool) -> None:
    gap = range(10, 10 + missing)
    faces, follower = run(lambda f: [] if f.index in gap else [(0, mesh_at((200 + 2 * f.index, 240)))], [BACK] * 30)
    assert ids(faces) == [0 if bridged or i not in gap else None for i in range(30)]
    assert follower.counts == {"face": 30 - missing, "bridged" if bridged else "no_face": missing}
    if bridged:
        middle = faces[10]
        assert middle is not None
        assert np.abs(middle.points - alignment_points(mesh_at((220, 240)))).max() < 0.5


REFUSED = {
    "too_small": lambda: mesh_at((300, 240), 25),
    "profile": lambda: mesh_at((300, 240), 120, yaw_deg=65),
    "outside": lambda: mesh_at((-20, 240), 160),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_faces_that_cannot_be_edited_pass_with_their_reason(reason: str) -> None:
    faces, follower = run(
        lambda f: [(0, REFUSED[reason]() if 10 <= f.index < 20 else mesh_at((300, 240)))], [BACK] * 30
    )
    assert ids(faces) == [0] * 10 + [None] * 10 + [0] * 10
    assert follower.counts == {"face": 20, reason: 10}


def test_no_face_at_all_and_no_frame_at_all() -> None:
    faces, follower = run(lambda f: [], [BACK] * 9)
    assert ids(faces) == [None] * 9 and follower.counts == {"no_face": 9}
    faces, follower = run(lambda f: [], [])
    assert faces == [] and not follower.counts


def test_a_face_that_comes_later_is_taken_up() -> None:
    faces, _ = run(lambda f: [(0, mesh_at((300, 240)))] if f.index >= 12 else [], [BACK] * 20)
    assert ids(faces) == [None] * 12 + [0] * 8


def test_the_same_person_is_taken_up_again_after_a_long_absence() -> None:
    """The track ends and a new one begins on the same picture of a person; a stranger's track is left alone."""
    person, stranger = (cv2.resize(load(n), (320, 320)) for n in ("dark_hair", "bald"))
    truth = {"person": (182.0, 98.0), "stranger": (153.0, 105.0)}
    images, script = [], {}
    for index in range(45):
        image = BACK.copy()
        image[80:400, 60:380] = stranger if 15 <= index < 30 else person if index < 15 or index >= 30 else 0
        images.append(image)
        name = "stranger" if 15 <= index < 30 else "person"
        centre = (60 + truth[name][0], 80 + truth[name][1])
        script[index] = [(0 if index < 15 else 1 if index < 30 else 2, mesh_at(centre, 125))]
    tracker = ScriptedTracker(lambda f: script[f.index])
    config = FollowerConfig()
    no_cuts = FollowerConfig(shots=type(config.shots)(threshold=0.99))
    out = list(FaceFollower(tracker, config=no_cuts).follow(video(images)))
    assert ids([face for _, face in out]) == [0] * 15 + [None] * 15 + [2] * 15


def test_few_frames_are_held() -> None:
    pulled = 0

    def counted() -> object:
        nonlocal pulled
        for frame in video([BACK] * 40):
            pulled += 1
            yield frame

    follower = FaceFollower(ScriptedTracker(lambda f: [(0, mesh_at((300, 240)))]))
    for index, _ in enumerate(follower.follow(counted())):
        assert pulled - index - 1 <= follower.lookahead


def test_nothing_is_carried_to_the_next_video() -> None:
    follower = FaceFollower(ScriptedTracker(lambda f: [(0, mesh_at((300 + f.index, 240)))]))
    first = [face for _, face in follower.follow(video([BACK] * 12))]
    second = [face for _, face in follower.follow(video([BACK] * 12))]
    assert follower.counts == {"face": 12}
    for a, b in zip(first, second, strict=True):
        assert a is not None and b is not None
        np.testing.assert_array_equal(a.frame_to_crop, b.frame_to_crop)


def test_closing_early_closes_the_tracker() -> None:
    tracker = ScriptedTracker(lambda f: [])
    stream = FaceFollower(tracker).follow(video([BACK] * 30))
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    assert tracker.opened == tracker.closed == 1


def test_bad_choices_are_named(tmp_path: object) -> None:
    from pathlib import Path

    tracker: FaceTracker = ScriptedTracker(lambda f: [])
    with pytest.raises(ConfigError, match="largest"):
        FaceFollower(tracker, "biggest")
    text = Path(str(tmp_path)) / "face.jpg"
    text.write_text("no picture")
    with pytest.raises(MediaError, match="not a picture"):
        FaceFollower(tracker, str(text))
    blank = Path(str(tmp_path)) / "wall é.png"
    blank.write_bytes(cv2.imencode(".png", BACK)[1].tobytes())
    with pytest.raises(NoFaceError, match="no face"):
        FaceFollower(tracker, str(blank))


@pytest.mark.parametrize("yaw", [-40, -10, 0, 25])
def test_yaw_of_a_turned_mesh(yaw: float) -> None:
    assert yaw_deg(mesh_at((100, 100), 90, yaw, roll_deg=20)) == pytest.approx(yaw, abs=0.5)
