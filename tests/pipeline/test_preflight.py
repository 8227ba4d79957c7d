"""The look before a run: counts and sizes are right, and each warning comes when it should and only then."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.cli.console import plain
from latentsync.core.errors import MediaError, Stopped
from latentsync.pipeline import preflight
from latentsync.pipeline.preflight import Preflight, look
from planted import GREY, PlantedTracker, film, picture
from synth_media import make_film, make_sound, tone

SIZE = (320, 240)
FACE = (160, 120, 100)


def talk(folder: Path, *shots: tuple[int, list[tuple[int, int, int]]]) -> Path:
    pictures = [picture(SIZE, squares) for count, squares in shots for _ in range(count)]
    return film(folder / "talk.mp4", pictures)


def words(found: Preflight) -> str:
    return " ".join(found.warnings)


def test_one_clear_face_gives_its_place_and_no_warning(tmp_path: Path) -> None:
    found = look(talk(tmp_path, (50, [FACE])), tracker=PlantedTracker())
    assert (found.num_with_face, len(found.samples), found.most_faces) == (32, 32, 1)
    assert found.warnings == ()
    for face in found.largest:
        assert np.abs(np.subtract(face.box_xyxy, (110, 70, 210, 170))).max() <= 2
        assert abs(face.turn_deg) < 1
    times = [time_s for time_s, _ in found.samples]
    assert times == sorted(set(times))
    assert (found.width, found.height, found.fps, found.duration_s) == (320, 240, 25, 2)


@pytest.mark.parametrize("num_frames", [33, 55, 63, 100])
def test_samples_are_spread_over_the_whole_of_a_short_video(tmp_path: Path, num_frames: int) -> None:
    found = look(talk(tmp_path, (num_frames, [FACE])), tracker=PlantedTracker())
    indices = [0, *(int(time_s * 25) for time_s, _ in found.samples), num_frames - 1]
    assert len(found.samples) == 32
    assert max(np.diff(indices)) <= -(-num_frames // 32)


def test_frames_without_a_face_are_counted(tmp_path: Path) -> None:
    found = look(talk(tmp_path, (16, [FACE]), (16, [])), tracker=PlantedTracker())
    assert found.num_with_face == 16
    assert "no face on 16 of 32 sampled frames" in words(found)
    assert "--no-face" in words(found)


def test_no_face_at_all_is_said_once(tmp_path: Path) -> None:
    found = look(talk(tmp_path, (10, [])), tracker=PlantedTracker())
    assert len(found.warnings) == 1
    assert "nothing would be lip-synced" in words(found)


def test_two_faces_ask_for_a_choice(tmp_path: Path) -> None:
    found = look(talk(tmp_path, (20, [(80, 120, 90), (240, 120, 100)])), tracker=PlantedTracker())
    assert found.most_faces == 2
    assert "--face" in words(found)
    assert {face.width_px for face in found.largest} <= {99, 100, 101}


@pytest.mark.parametrize(("side", "says"), [(30, "small"), (100, ""), (230, "")])
def test_the_size_of_the_face(tmp_path: Path, side: int, says: str) -> None:
    found = look(talk(tmp_path, (10, [(160, 120, side)])), tracker=PlantedTracker())
    assert (says in words(found)) if says else ("small" not in words(found) and "softer" not in words(found))


def test_a_face_too_small_to_be_edited_is_said_with_the_limit(tmp_path: Path) -> None:
    """The same limit as that of a run, see `FollowerConfig`."""
    tiny = look(talk(tmp_path, (10, [(160, 120, 26)])), tracker=PlantedTracker())
    assert tiny.num_with_face == 10
    assert "too small to be edited on 10 of 10 sampled frames" in words(tiny) and "32 px" in words(tiny)
    assert "rough mouth" not in words(tiny)
    mixed = look(talk(tmp_path, (6, [(160, 120, 26)]), (4, [(160, 120, 40)])), tracker=PlantedTracker())
    assert "too small to be edited on 6 of 10" in words(mixed)
    assert "too small" not in words(look(talk(tmp_path, (10, [(160, 120, 40)])), tracker=PlantedTracker()))


def test_a_large_face_is_measured_against_the_models_resolution(tmp_path: Path) -> None:
    path = film(tmp_path / "near.mp4", [picture((1000, 800), [(500, 400, 450)])] * 3)
    assert "softer" in words(look(path, tracker=PlantedTracker(), resolution=256))
    assert "softer" not in words(look(path, tracker=PlantedTracker(), resolution=512))


def test_a_turned_head_is_warned_about(tmp_path: Path) -> None:
    path = talk(tmp_path, (10, [FACE]))
    assert "turned far" in words(look(path, tracker=PlantedTracker(turn=2.5)))
    assert "turned far" not in words(look(path, tracker=PlantedTracker(turn=0.3)))


def test_interlaced_video_is_said(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 3, options={"x264-params": "tff=1"})
    assert "interlaced" in words(look(path, tracker=PlantedTracker()))


@pytest.mark.parametrize(("seconds", "says"), [(3.0, "1.0 s longer"), (1.0, "1.0 s shorter"), (2.2, "")])
def test_the_lengths_are_compared(tmp_path: Path, seconds: float, says: str) -> None:
    speech = make_sound(tmp_path / "speech.wav", tone(seconds, num_channels=1))
    found = look(talk(tmp_path, (50, [FACE])), speech, tracker=PlantedTracker())
    assert found.audio_duration_s == Fraction(str(seconds))
    assert (says in words(found)) if says else "the speech is" not in words(found)


def test_a_long_video_is_entered_at_a_few_places_all_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "READ_WHOLE_FRAMES", 100)
    found = look(talk(tmp_path, (150, []), (150, [FACE])), tracker=PlantedTracker(), num_samples=16)
    times = [float(time_s) for time_s, _ in found.samples]
    assert times == sorted(set(times))
    assert times[0] < 2
    assert times[-1] > 10
    assert 6 <= found.num_with_face <= 10


def test_it_goes_into_json(tmp_path: Path) -> None:
    found = look(talk(tmp_path, (5, [FACE])), tracker=PlantedTracker())
    again = json.loads(json.dumps(found.as_dict(), default=plain))
    assert again["fps"] == 25
    assert again["num_with_face"] == again["num_sampled"] == 5
    assert again["samples"][0]["faces"][0]["score"] == 0.9


def test_files_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    sound = make_sound(tmp_path / "only.wav", tone(0.5))
    with pytest.raises(MediaError, match="no video"):
        look(sound, tracker=PlantedTracker())
    mute = make_film(tmp_path / "mute.mp4", 3)
    with pytest.raises(MediaError, match="no sound"):
        look(mute, mute, tracker=PlantedTracker())


def test_cuts_are_counted_and_none_where_there_is_none(tmp_path: Path) -> None:
    shots = [np.where((p := picture(SIZE, [FACE])) == GREY, grey, p).astype(np.uint8) for grey in (200, 30, 120)]
    found = look(film(tmp_path / "cut.mp4", [shot for shot in shots for _ in range(16)]), tracker=PlantedTracker())
    assert (found.num_cuts, found.as_dict()["num_cuts"]) == (2, 2)
    assert found.num_read >= 46
    assert look(talk(tmp_path, (40, [FACE])), tracker=PlantedTracker()).num_cuts == 0


def test_entering_a_long_video_is_no_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "READ_WHOLE_FRAMES", 100)
    one, other = (np.full((240, 320, 3), grey, np.uint8) for grey in (30, 200))
    found = look(film(tmp_path / "long.mp4", [one] * 160 + [other] * 140), tracker=PlantedTracker(), num_samples=8)
    assert found.num_read < 200
    assert found.num_cuts <= 1


def test_it_stops_when_asked(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        look(talk(tmp_path, (5, [FACE])), tracker=PlantedTracker(), stop=lambda: True)
