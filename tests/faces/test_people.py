"""Which face a place or a box means, and several people followed at once, each in its own ranges."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from face_scenes import ScriptedTracker, mesh_at, video, wall

from latentsync.core.errors import ConfigError
from latentsync.core.values import Face
from latentsync.faces import PeopleFollower, Wanted
from latentsync.faces.choice import Seen, parse_choice
from latentsync.media import RgbPicture

PICTURE = RgbPicture(np.zeros((200, 400, 3), np.uint8))


def seen(track_id: int, *boxes: tuple[float, float, float, float]) -> Seen:
    """A track whose mesh fills these boxes (x, y, w, h), frame by frame."""
    corners = [np.resize([(x, y), (x + w, y + h)], (468, 2)).astype(np.float32) for x, y, w, h in boxes]
    return Seen(track_id, tuple((PICTURE, Face(track_id, points, 0.9)) for points in corners))


ANNA, BEN = seen(3, (50, 50, 60, 80)), seen(7, (250, 60, 50, 60))
PASSING = seen(9, *[(140, 60, 60, 60)] * 5, *[(300, 60, 60, 60)] * 9)


def chosen(choice: str, *tracks: Seen) -> int | None:
    return parse_choice(choice, lambda path: pytest.fail("not a picture"))(tracks)


@pytest.mark.parametrize(
    ("choice", "track"),
    [
        ("50,50,60,80", 3), ("40, 30, 90, 120", 3), ("60,60,20,20", 3),  # exact, generous, inside
        ("0,0,400,200", 3), ("220,0,180,200", 7),  # both faces in it: the larger; one alone
        ("0.5,0,0.5,1", 7), (".125,.25,.15,.4", 3), ("0.69,0.45", 7), ("80,90", 3),
        ("95,50,60,80", None), ("150,0,50,50", None), ("0.4,0.1,0.05,0.1", None),  # a quarter of Anna; nobody
        ("120,50,80,90", 9),  # where it was in its first frames, wherever it is later
    ],
)  # fmt: skip
def test_a_place_or_a_box_means_the_face_there(choice: str, track: int | None) -> None:
    assert chosen(choice, ANNA, BEN, PASSING) == track


@pytest.mark.parametrize("choice", ["10,10,0,5", "1,2,3", "1,2,3,4,5", "-1,2,3,4", "a,b,c,d"])
def test_what_is_no_box_is_refused(choice: str) -> None:
    with pytest.raises(ConfigError, match="face"):
        chosen(choice, ANNA)


def test_people_are_followed_at_once_each_in_its_ranges_with_one_tracking() -> None:
    tracker = ScriptedTracker(lambda f: [(0, mesh_at((180, 240))), (1, mesh_at((460 - 4 * f.index, 240)))])
    ranges = ((Fraction(1, 5), Fraction(2, 5)), (Fraction(3, 5), Fraction(4)))
    follower = PeopleFollower(tracker, [Wanted("0"), Wanted("1", ranges), Wanted("right")])
    out = list(follower.follow(video([wall(640, 480)] * 25)))
    assert [frame.index for frame, _ in out] == list(range(25))
    tracks = [[None if face is None else face.track_id for face in faces] for _, faces in out]
    assert [t[0] for t in tracks] == [0] * 25
    assert [t[1] for t in tracks] == [None] * 5 + [1] * 5 + [None] * 5 + [1] * 10
    assert [t[2] for t in tracks] == [1] * 25
    assert (tracker.opened, tracker.closed) == (1, 1)
    assert follower.counts == {"face": 65}


def test_a_choice_is_made_anew_in_each_range() -> None:
    """Two people change sides; "left" is whoever is there when the range begins, and then held."""
    tracker = ScriptedTracker(
        lambda f: [(k, mesh_at((120 + 16 * x, 240))) for k, x in ((0, f.index), (1, 24 - f.index))]
    )
    ranges = ((Fraction(0), Fraction(1, 5)), (Fraction(4, 5), Fraction(1)))
    out = PeopleFollower(tracker, [Wanted("left", ranges)]).follow(video([wall(640, 480)] * 25))
    tracks = [None if face is None else face.track_id for _, (face,) in out]
    assert (tracks[:5], tracks[20:]) == ([0] * 5, [1] * 5)
