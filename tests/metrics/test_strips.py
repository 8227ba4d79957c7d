"""Mouth strips show the right moments of the right face, source above result."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.core.errors import MediaError, NoFaceError
from latentsync.faces import Wanted
from latentsync.media import VideoReader
from latentsync.metrics.strips import draw_strip, mouth_strip, people_strip, save_png
from planted import PlantedTracker, film, picture

SIZE, NUM_FRAMES = (320, 240), 32
TILE, GAP, HEAD, LABEL = 144, 2, 18, 64


def green(frame: int) -> tuple[int, int, int]:
    return (20, 100 + frame * 4, 20)


def blue(frame: int) -> tuple[int, int, int]:
    return (20, 20, 130 + frame * 3)


def tile(sheet: np.ndarray, row: int, column: int, below: int = HEAD) -> np.ndarray:
    """Mean colour of the middle of one tile, RGB; the first row's tiles begin `below` the top."""
    y, x = below + row * (TILE + GAP), LABEL + column * (TILE + GAP)
    middle = sheet[y + TILE // 2 - 10 : y + TILE // 2 + 10, x + TILE // 2 - 10 : x + TILE // 2 + 10]
    return middle.reshape(-1, 3).mean(axis=0)


@pytest.fixture
def videos(tmp_path: Path) -> tuple[Path, Path]:
    """The mouth's colour tells the frame: green in the source, blue in the result; the face walks to the right."""
    squares = [(120 + 2 * number, 120, 120) for number in range(NUM_FRAMES)]
    source = film(tmp_path / "a source.mp4", [picture(SIZE, [at], green(n)) for n, at in enumerate(squares)])
    result = film(tmp_path / "result.mp4", [picture(SIZE, [at], blue(n)) for n, at in enumerate(squares)])
    return source, result


def test_rows_and_columns_show_their_frames(videos: tuple[Path, Path], tmp_path: Path) -> None:
    out = mouth_strip(*videos, tmp_path / "strip.png", columns=8, tracker=PlantedTracker())
    sheet = cv2.imread(str(out))[..., ::-1]
    assert sheet.shape == (HEAD + 2 * (TILE + GAP), LABEL + 8 * (TILE + GAP), 3)
    for column in range(8):
        frame = 4 * column + 2  # the middle of each eighth
        assert np.abs(tile(sheet, 0, column) - green(frame)).max() < 6
        assert np.abs(tile(sheet, 1, column) - blue(frame)).max() < 6


def test_a_result_that_begins_later_is_compared_with_that_part(videos: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = videos
    later = film(tmp_path / "later.mp4", [picture(SIZE, [(120 + 2 * n, 120, 120)], blue(n)) for n in range(16, 32)])
    out = mouth_strip(
        source, later, tmp_path / "strip.png", columns=4, start_s=Fraction(16, 25), tracker=PlantedTracker()
    )
    sheet = cv2.imread(str(out))[..., ::-1]
    for column in range(4):
        frame = 16 + 4 * column + 2
        assert np.abs(tile(sheet, 0, column) - green(frame)).max() < 6
        assert np.abs(tile(sheet, 1, column) - blue(frame)).max() < 6


def test_a_part_that_was_repeated_is_shown_once(videos: tuple[Path, Path], tmp_path: Path) -> None:
    out = mouth_strip(*videos, tmp_path / "strip.png", columns=4, end_s=Fraction(16, 25), tracker=PlantedTracker())
    sheet = cv2.imread(str(out))[..., ::-1]
    for column in range(4):
        frame = 4 * column + 2
        assert np.abs(tile(sheet, 0, column) - green(frame)).max() < 6
        assert np.abs(tile(sheet, 1, column) - blue(frame)).max() < 6


def test_each_person_of_a_plan_has_its_rows_at_its_own_times(tmp_path: Path) -> None:
    """Left speaks in frames 8 to 15 and 24 to 31, right in frames 16 to 23."""
    squares = [(80, 120, 120), (240, 120, 120)]

    def shown(colour, number: int) -> np.ndarray:
        whole = picture(SIZE, squares[:1], colour(number))
        whole[:, 160:] = picture(SIZE, squares[1:], colour(31 - number))[:, 160:]
        return whole

    source = film(tmp_path / "a.mp4", [shown(green, n) for n in range(NUM_FRAMES)])
    result = film(tmp_path / "b.mp4", [shown(blue, n) for n in range(NUM_FRAMES)])
    at = [Fraction(n, 25) for n in (8, 16, 24, 32)]
    people = [Wanted("left", ((at[0], at[1]), (at[2], at[3]))), Wanted("right", ((at[1], at[2]),)), Wanted("7")]
    with VideoReader(source) as reader:
        out = people_strip(reader, result, tmp_path / "s.png", people, columns=4, tracker=PlantedTracker())
    sheet = cv2.imread(str(out))[..., ::-1]
    pair = 2 * HEAD + 2 * (TILE + GAP)
    assert sheet.shape == (2 * pair, LABEL + 4 * (TILE + GAP), 3)  # the seventh face is nobody and has no rows
    for person, frames in enumerate([(10, 14, 26, 30), (31 - 17, 31 - 19, 31 - 21, 31 - 23)]):
        for column, frame in enumerate(frames):
            below = person * pair + 2 * HEAD
            assert np.abs(tile(sheet, 0, column, below) - green(frame)).max() < 6
            assert np.abs(tile(sheet, 1, column, below) - blue(frame)).max() < 6


def test_what_a_plan_asks_for_beyond_the_end_has_no_columns(tmp_path: Path) -> None:
    source, result = (
        film(tmp_path / name, [picture(SIZE, [(80, 120, 120)], colour(n)) for n in range(NUM_FRAMES)])
        for name, colour in (("a.mp4", green), ("b.mp4", blue))
    )
    wanted = Wanted("left", ((Fraction(16, 25), Fraction(3)), (Fraction(4), Fraction(5))))
    with VideoReader(source) as reader:
        out = people_strip(reader, result, tmp_path / "s.png", [wanted], columns=4, tracker=PlantedTracker())
    sheet = cv2.imread(str(out))[..., ::-1]
    for column, frame in enumerate((18, 22, 26, 30)):
        assert np.abs(tile(sheet, 0, column, 2 * HEAD) - green(frame)).max() < 6


def test_without_a_face_there_is_no_strip(tmp_path: Path) -> None:
    empty = film(tmp_path / "empty.mp4", [picture(SIZE, [])] * 5)
    with pytest.raises(NoFaceError, match="no face"):
        mouth_strip(empty, empty, tmp_path / "strip.png", tracker=PlantedTracker())
    with VideoReader(empty) as reader, pytest.raises(NoFaceError, match="nobody is seen"):
        people_strip(reader, empty, tmp_path / "strip.png", [Wanted("left")], tracker=PlantedTracker())
    assert not (tmp_path / "strip.png").exists()


def test_drawing_needs_as_many_below_as_above() -> None:
    one = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="1, 2 tiles"):
        draw_strip([one], [one, one], [0.0])
    with pytest.raises(ValueError, match="not 0"):
        draw_strip([], [], [])


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="Choose another place"):
        save_png(tmp_path / "no folder" / "strip.png", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
