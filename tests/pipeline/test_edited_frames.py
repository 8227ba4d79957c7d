"""Which frames and pixels a run changes, and which it leaves as they are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from whole_runs import WAVE, arrays, film

import micro_model
import planted
from latentsync.core.errors import NoFaceError
from latentsync.core.values import Frame
from latentsync.media import RgbPicture
from latentsync.pipeline import Lipsync


def test_the_mouth_changes_and_everything_outside_the_mask_is_bit_identical(model: Lipsync) -> None:
    source = arrays(6)
    made = list(model.stream(source, WAVE))
    assert len(made) == 6
    changed = np.abs(made[0].astype(int) - source[0].astype(int)).max(axis=-1) > 0
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed.sum() > 300
    # the mask begins below the eyes and ends inside the crop, which is about as wide as the planted face's brows × 1.8
    assert rows.min() > 40
    assert columns.min() > 20
    assert columns.max() < 140


def test_frames_without_a_face_pass_through_untouched_and_in_place(model: Lipsync) -> None:
    source = [Frame(k, Fraction(k, 25), RgbPicture(a)) for k, a in enumerate(arrays(5) + arrays(6, []) + arrays(4))]
    made = list(model.stream(source, WAVE))
    assert [f.time_s for f in made] == [f.time_s for f in source]
    same = [a.picture is b.picture for a, b in zip(made, source, strict=True)]
    assert same == [False] * 5 + [True] * 6 + [False] * 4


def test_chunks_end_at_a_cut(model: Lipsync) -> None:
    """What comes after a cut does not change what comes before it, nor the other way round."""
    first, second = [(50, 60, 60)], [(110, 60, 70)]
    night = [np.where(p == planted.GREY, 20, p).astype(np.uint8) for p in arrays(5, second)]
    together = list(model.stream(arrays(5, first) + night, WAVE))
    alone = list(model.stream(arrays(5, first), WAVE))
    assert all((a == b).all() for a, b in zip(together[:5], alone, strict=True))


@pytest.mark.parametrize(
    ("face", "side"),
    [("left", 0), ("right", 1), ("1", 1), ("120,60", 1), ("0.75,0.5", 1), ("10,20,70,80", 0), ("0.5,0,0.5,1", 1)],
)
def test_of_two_faces_only_the_chosen_one_is_edited(model: Lipsync, face: str, side: int) -> None:
    source = arrays(4, [(45, 60, 60), (118, 60, 60)])
    made = list(model.stream(source, WAVE, face=face))
    changed = np.abs(made[2].astype(int) - source[2].astype(int)).max(axis=-1) > 0
    halves = changed[:, :80].any(), changed[:, 80:].any()
    assert halves == (side == 0, side == 1)


def test_a_profile_is_left_alone(speech: Path, tmp_path: Path) -> None:
    turned = micro_model.lipsync(planted.PlantedTracker(turn=2.7))
    with pytest.raises(NoFaceError, match="no face to edit in any of its 10 frames"):
        turned(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_faces_too_small_to_edit_are_named(model: Lipsync, speech: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"any of its 10 frames \(on 10 there is one, narrower than 32 px"):
        model(film(tmp_path / "a.mp4", squares=[(80, 60, 26)]), speech, tmp_path / "o.mp4")
    with pytest.raises(NoFaceError, match="any of its 10 frames; nothing"):
        model(film(tmp_path / "b.mp4", squares=[]), speech, tmp_path / "o.mp4")


@pytest.mark.parametrize(
    ("faces", "choice", "says"),
    [
        ([1], "3", "no face 3 in the 10 frames that were used: at most 1 is seen at once. Choose --face 0; nothing"),
        ([1, 2], "2", "no face 2 in the 10 frames that were used: at most 2 are seen at once. Choose --face 0 or 1,"),
        ([0, 3], "3", "no face 3 in the 10 frames that were used: at most 3 are seen at once. Choose --face 0 to 2,"),
        ([1, 1, 2], "1", "no face 1 in the 10 frames that were used: at most 1 is"),  # the speech ends before
        ([0], "3", "no face to edit in any of its 10 frames; nothing"),
        ([1], "0.9,0.9", r"any of its 10 frames \(on 10 there are faces, but not the one meant by 0.9,0.9\); nothing"),
    ],
)
def test_a_face_that_is_not_there_is_told_with_those_that_are(
    model: Lipsync, speech: Path, tmp_path: Path, faces: list[int], choice: str, says: str
) -> None:
    """Every five frames there are so many faces."""
    squares = [(30, 60, 40), (80, 60, 40), (130, 60, 40)]
    video = planted.film(tmp_path / "a.mp4", [rgb for count in faces for rgb in arrays(5, squares[:count])])
    length = "hold" if len(faces) == 1 else "audio"
    with pytest.raises(NoFaceError, match=says):
        model(video, speech, tmp_path / "o.mp4", face=choice, length=length)
    assert not (tmp_path / "o.mp4").exists()


def test_a_frame_without_a_face_can_be_made_an_error(model: Lipsync, speech: Path, tmp_path: Path) -> None:
    video = planted.film(tmp_path / "a.mp4", arrays(4) + arrays(6, []) + arrays(5))
    with pytest.raises(NoFaceError, match=r"frame 4 \(0.16 s\)"):
        model(video, speech, tmp_path / "o.mp4", no_face="fail")
    result = model(video, speech, tmp_path / "o.mp4")
    assert (result.num_edited, result.num_without_face) == (4, 6)
    assert any("6 of 10 frames" in text for text in result.warnings)


def test_compatible_paste_replaces_the_whole_face(model: Lipsync) -> None:
    source = arrays(4)[0].astype(int)
    mouth = np.abs(next(iter(model.stream(arrays(4), WAVE))).astype(int) - source).max(axis=-1) > 0
    whole = np.abs(next(iter(model.stream(arrays(4), WAVE, paste="compatible"))).astype(int) - source).max(axis=-1) > 0
    assert whole.sum() > mouth.sum()
