"""Two rendered heads of which one passes before the other, or takes its place: nobody's track goes to the other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_scenes import TRUE_POINTS, load, place, video, wall

from latentsync.faces import FaceFollower, MeshTracker

SIDE, X, Y = 320, 340, 20
BOTH_WAYS = pytest.mark.parametrize(("still", "mover"), [("bald", "dark_hair"), ("dark_hair", "bald")])


def passing(still: str, mover: str) -> tuple[list[np.ndarray], list[float]]:
    """120 pictures, and where the mover's head begins: it comes in from the left and goes out at the right."""
    back = place(wall(1000 + 2 * SIDE, 360), load(still), X + SIDE, Y, SIDE)
    starts = np.linspace(-200, 880, 120).round().astype(int)
    images = [place(back, load(mover), int(x) + SIDE, Y, SIDE)[:, SIDE:-SIDE] for x in starts]
    return images, [float(x) for x in starts]


def centre_x(name: str, x: float) -> float:
    return float(TRUE_POINTS[name][:, 0].mean()) + x


@BOTH_WAYS
def test_a_face_that_another_passes_before_keeps_its_number_and_so_does_the_other(still: str, mover: str) -> None:
    images, starts = passing(still, mover)
    with MeshTracker().open() as session:
        tracks = [
            {face.track_id: float(face.landmarks[:, 0].mean()) for face in session.track(f)} for f in video(images)
        ]
    for index in [*range(25, 35), *range(92, 105)]:
        assert set(tracks[index]) == {0, 1}
        assert tracks[index][0] == pytest.approx(centre_x(still, X), abs=25)
        assert tracks[index][1] == pytest.approx(centre_x(mover, starts[index]), abs=25)


@BOTH_WAYS
def test_the_followed_face_is_the_same_person_to_the_end(still: str, mover: str) -> None:
    images, _ = passing(still, mover)
    followed = [face for _, face in FaceFollower(MeshTracker(), "largest").follow(video(images))]
    assert all(face is None or abs(face.points[:, 0].mean() - centre_x(still, X)) < 40 for face in followed)
    assert all(face is not None for face in [*followed[:35], *followed[92:]])
    assert followed[0].track_id == followed[-1].track_id  # type: ignore[union-attr]


@BOTH_WAYS
def test_who_takes_the_place_of_another_has_a_new_number(still: str, mover: str) -> None:
    images = [place(wall(1000, 360), load(name), X, Y, SIDE) for name in [still] * 15 + [mover] * 15]
    with MeshTracker().open() as session:
        ids = [[face.track_id for face in session.track(frame)] for frame in video(images)]
    assert ids == [[0]] * 15 + [[1]] * 15


@pytest.mark.parametrize("name", TRUE_POINTS)
def test_one_who_nods_tilts_and_talks_in_changing_light_keeps_the_number(name: str) -> None:
    head, images = load(name).astype(np.float32), []
    rows = np.arange(SIDE, dtype=np.float32)
    chin = np.clip((rows - TRUE_POINTS[name][2, 1] - 15) / 40, 0, 1)
    for index in range(75):
        phase = index / 75 * 2 * np.pi
        drop = 6 * chin * (1 - np.cos(8 * phase))  # the lower face goes down and up eight times in three seconds
        across, down = np.meshgrid(rows, (rows - drop).astype(np.float32))
        talking = cv2.remap(head, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        turn = cv2.getRotationMatrix2D((160, 180), 20 * np.sin(2 * phase), 1 + 0.1 * np.sin(phase))
        turn[0] *= 0.88 + 0.12 * np.cos(3 * phase)  # narrower, as a turned head is
        turned = cv2.warpAffine(talking, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        lit = turned * (1 + 0.35 * np.sin(phase) * np.linspace(-1, 1, SIDE, dtype=np.float32)[None, :, None])
        images.append(np.clip(lit, 0, 255).astype(np.uint8))
    with MeshTracker().open() as session:
        assert [[face.track_id for face in session.track(frame)] for frame in video(images)] == [[0]] * 75
