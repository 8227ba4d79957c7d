"""Options come from defaults, a preset or file, and single changes; what cannot be right is refused with the fix."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.config.checked import as_kind
from latentsync.config.loader import load_preset, preset_names, sync_options
from latentsync.config.options import SyncOptions
from latentsync.config.plan import PlanEntry
from latentsync.config.times import parse_time
from latentsync.core.errors import ConfigError


def test_no_preset_gives_the_defaults() -> None:
    assert sync_options() == SyncOptions()


def test_every_shipped_preset_is_valid() -> None:
    assert set(preset_names()) == {"draft", "balanced", "best"}
    for name in preset_names():
        assert sync_options(name).seed == SyncOptions().seed
    assert load_preset("balanced") == {}


def test_a_change_wins_over_the_preset() -> None:
    assert sync_options("draft").guidance == 1.0
    assert sync_options("draft", {"guidance": 1.5}).guidance == 1.5


def test_a_users_file_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "my own.yaml"
    path.write_text("face: 1\nstart_s: '1:02.5'\nend_s: 90\ncrf: 18\nprovenance: false\n", "utf-8")
    options = sync_options(str(path))
    assert options == SyncOptions(face="1", start_s=Fraction(125, 2), end_s=Fraction(90), crf=18.0, provenance=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stepps: 3", "did you mean steps"),
        ("steps: fast", "expected int"),
        ("steps: true", "expected int"),
        ("steps: 0", "choose 1 to 1000"),
        ("length: longer", "choose one of audio, video"),
        ("provenance: 'no'", "expected bool"),
        ("- a\n- b", "key: value"),
        ("a: [1", "line"),
    ],
)
def test_a_wrong_file_is_refused_with_the_fix(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=says) as refused:
        sync_options(str(path))
    assert (refused.value.key, refused.value.value) == ("preset", str(path))


def test_what_was_set_beside_a_preset_is_not_the_presets_fault(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("crf: 99\nstart_s: 5\n", "utf-8")
    assert sync_options(str(tmp_path / "own.yaml"), {"crf": 20}).crf == 20
    with pytest.raises(ConfigError) as refused:
        sync_options(str(tmp_path / "own.yaml"), {"crf": 88})
    assert refused.value.key == "crf"


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="balanced, best, draft"):
        sync_options("fastest")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", Fraction(25, 2)),
        ("0", Fraction(0)),
        ("1:02.5", Fraction(125, 2)),
        ("1:00:00.04", 3600 + Fraction(1, 25)),
    ],
)
def test_times_are_exact(text: str, seconds: Fraction) -> None:
    assert parse_time("start_s", text) == seconds


@pytest.mark.parametrize("text", ["-1", "-3.5", "-1:00"])
def test_times_before_the_start_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="choose 0 or later"):
        parse_time("start_s", text)


@pytest.mark.parametrize("text", ["", "x", "1:-1", "1:60", "1:2:3:4", "1/0"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="minutes:seconds"):
        parse_time("start_s", text)


@pytest.mark.parametrize(("key", "value"), [("steps", 1.5), ("seed", "3"), ("guidance", "2"), ("end_s", "1:00")])
def test_a_value_of_another_kind_is_a_wrong_setting(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key}=.*number"):
        SyncOptions(**{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["guidance", "crf", "start_s", "end_s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{key}="):
        SyncOptions(**{key: value})  # type: ignore[arg-type]


def test_no_setting_read_from_a_file_is_infinite(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("guidance: .nan\n")
    with pytest.raises(ConfigError, match="guidance nan: give a finite number"):
        sync_options(str(tmp_path / "mine.yaml"))
    with pytest.raises(ConfigError, match="finite"):
        as_kind("loop.betas", float("inf"), float)


def test_times_as_floats_mean_the_decimals_that_are_written() -> None:
    """The float 0.4 is above 2/5: the frame at 2/5 s came before it, and 0.4 to 1.2 s had 19 frames instead of 20."""
    options = SyncOptions(start_s=0.4, end_s=np.float32(1.2))  # type: ignore[arg-type]
    assert (options.start_s, options.end_s) == (Fraction(2, 5), Fraction(6, 5))
    assert SyncOptions(start_s=2).start_s == 2  # type: ignore[arg-type]
    assert SyncOptions(start_s=Fraction(1, 3)).start_s == Fraction(1, 3)
    entry = PlanEntry(audio=Path("a.wav"), start_s=0.4, end_s=1.2, audio_start_s=0.1)  # type: ignore[arg-type]
    assert (entry.start_s, entry.end_s, entry.audio_start_s) == (Fraction(2, 5), Fraction(6, 5), Fraction(1, 10))
    with pytest.raises(ConfigError, match="end_s"):
        PlanEntry(audio=Path("a.wav"), end_s=float("nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "face"), [(0, "0"), (2, "2"), (Path("anna.png"), "anna.png"), ("left", "left")])
def test_a_face_is_chosen_by_number_path_or_word(given: object, face: str) -> None:
    assert SyncOptions(face=given).face == face  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, True, 0.5, (1, 2)])
def test_what_names_no_face_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="face="):
        SyncOptions(face=given)  # type: ignore[arg-type]
