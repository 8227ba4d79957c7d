"""A film with two faces side by side: which clips `data build` keeps, of which face, and what the manifest says."""

from __future__ import annotations

from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from raw_videos import SETTINGS, run, sound_of
from talkers import INFO, SIDE, MouthTracker, babble, portrait

from latentsync.core.values import Face, Frame
from latentsync.data.manifest import read_manifest
from latentsync.data.settings import data_settings
from latentsync.media.audio import write_wav
from latentsync.media.pixels import RgbPicture
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter

STEPS = 60
SMALL = 96
"""Side of the right person's picture; the left one's is `SIDE`."""


class PairTracker:
    """Finds the drawn faces of both halves, each as `MouthTracker` does."""

    def open(self) -> _Pair:
        return _Pair()


class _Pair(AbstractContextManager["_Pair"]):
    def __init__(self) -> None:
        self._half = MouthTracker().open()

    def __exit__(self, *_: object) -> None:
        return None

    def cut(self) -> None:
        return None

    def track(self, frame: Frame) -> tuple[Face, ...]:
        rgb = frame.picture.rgb()
        faces = []
        for track_id, (x, side) in enumerate(((0, SIDE), (SIDE, SMALL))):
            alone = cv2.resize(rgb[:side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for face in self._half.track(Frame(frame.index, frame.time_s, RgbPicture(alone))):
                faces.append(Face(track_id, face.landmarks * np.float32(side / SIDE) + np.float32((x, 0)), 0.9))
        return tuple(faces)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large person on the left who speaks, a small one who listens, seen all the time or at the end only."""
    folder = tmp_path_factory.mktemp("raw")
    pair(folder / "both.mp4", range(STEPS))
    pair(folder / "a moment.mp4", range(STEPS - 5, STEPS))
    return folder


def pair(path: Path, seen_at: range) -> None:
    opening = babble(1, STEPS)
    audio_encoder = cv2.resize(portrait(0, 3), (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    hidden = audio_encoder.copy()
    hidden[SMALL * 7 // 16 : SMALL * 5 // 8, SMALL // 2 - 3 : SMALL // 2 + 4] = 0  # a hand before the nose, say
    write_wav(path.with_suffix(".wav"), sound_of(opening))
    like = type(INFO)(width=2 * SIDE, height=SIDE, fps=Fraction(25))
    with VideoWriter(path, like=like, audio=AudioPlan(path.with_suffix(".wav"), mode="encode")) as writer:
        for index in range(STEPS):
            rgb = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
            rgb[:, :SIDE] = portrait(float(opening[index]), 0)
            rgb[:SMALL, SIDE : SIDE + SMALL] = audio_encoder if index in seen_at else hidden
            writer.write(Frame(index, Fraction(index, 25), RgbPicture(rgb)))
    path.with_suffix(".wav").unlink()


def build(raw: Path, out: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    """Build, and the manifest's line of each source."""
    settings = data_settings(SETTINGS.as_dict(), {key.replace("__", "."): value for key, value in changes.items()})
    run(raw, out, settings, tracker=PairTracker)
    return {row["source"]: row for row in read_manifest(out)[0]}


def middle_x(out: Path, row: dict[str, Any]) -> float:
    with np.load(out / "clips" / row["clip_id"] / "face.npz") as geometry:
        return float(geometry["landmarks"][..., 0].mean())


def test_two_faces_at_once_are_left_out_and_one_who_is_there_for_a_moment_does_no_harm(
    raw: Path, tmp_path: Path
) -> None:
    rows = build(raw, tmp_path / "out")
    both, moment = rows["both.mp4"], rows["a moment.mp4"]
    assert (both["kept"], both["stage"], both["reason"]) == (False, "face_check", "several_faces")
    assert (both["value"], both["limit"]) == (1.0, 0.1)
    assert moment["kept"]
    assert middle_x(tmp_path / "out", moment) < SIDE


def test_where_several_are_allowed_the_largest_is_kept(raw: Path, tmp_path: Path) -> None:
    rows = build(raw, tmp_path / "out", face_limits__max_others_share=1)
    assert len(rows) == 2  # one clip a film, not one a face
    assert rows["both.mp4"]["kept"]
    assert middle_x(tmp_path / "out", rows["both.mp4"]) < SIDE


def test_who_is_chosen_but_not_heard_is_out_of_sync(raw: Path, tmp_path: Path) -> None:
    rows = build(raw, tmp_path / "out", face_limits__max_others_share=1, faces__choice="right")
    both = rows["both.mp4"]
    assert (both["kept"], both["stage"], both["reason"]) == (False, "sync_check", "not_in_sync")
