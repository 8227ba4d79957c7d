"""Settings that would take for ever, all memory, or Python's stack: refused at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from latentsync.config.loader import load_preset, sync_options
from latentsync.config.plan import load_plan
from latentsync.config.times import exact, parse_time
from latentsync.config.yaml_text import parse_yaml
from latentsync.core.errors import ConfigError

AT_ONCE_S = 2.0
BOMB = "steps:\n  - &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"  - &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
LAUGHS = {
    "bomb": BOMB,
    "merged bomb": "a: &a0 {k: 1}\n" + "".join(f"b{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40)),
    "endless": "steps: &a [*a]",
    "deep": "[" * 3000,
    "deep blocks": "".join(" " * i + "a:\n" for i in range(900)),
    "dashes": "- " * 3000,
    "long number": "steps: " + "1" * 5000,
    "long hexadecimal": "seed: 0x" + "f" * 200_000,
    "long sexagesimal": "seed: 1" + ":59" * 20_000,
    "long float": "crf: 1." + "0" * 100_000,
    "bad day": "steps: 2020-13-45",
    "bad tag": "steps: !!timestamp 3",
    "python": "steps: !!python/object/apply:os.system ['true']",
    "exponent": "start_s: '1e99999999'",
    "exponent as a number": "start_s: 1e99999999",
    "long fraction": "start_s: 1/" + "9" * 4000,
    "long time": "start_s: '" + "1:" * 50_000 + "'",
    "infinity": "crf: .inf",
    "not a number": "guidance: .nan",
    "too long": "# " + "x" * (1 << 20) + "\nsteps: 3",
    "null letters": "steps: 'a\0'",
    "list as key": "? [a]\n: 1",
}


def in_time(call: Callable[[], object]) -> str:
    began = time.process_time()
    with pytest.raises(ConfigError) as given:
        call()
    assert time.process_time() - began < AT_ONCE_S
    assert len(str(given.value)) < 1000 and "\n" not in str(given.value)
    return str(given.value)


@pytest.mark.parametrize("name", LAUGHS)
def test_a_preset_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(LAUGHS[name])
    assert "own.yaml" in in_time(lambda: sync_options(str(path)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "- {audio: a.wav, start: 1e99999999}"),
        ("p.yaml", "- {audio: a.wav, end: 1e-99999999}"),
        ("p.yaml", f"- {{audio: a.wav, start: '0:00:00:{'9' * 5000}'}}"),
        ("p.yaml", BOMB),
        ("p.yaml", "[" * 50_000),
        ("p.json", "[" * 50_000),
        ("p.json", '{"entries":' * 50_000),
        ("p.json", '[{"audio": "a.wav", "start": 1' + "0" * 10_000 + "}]"),
        ("p.csv", "audio,start\na.wav,1e99999999\n"),
        ("p.csv", "audio,start\na.wav," + "9" * 200_000 + "\n"),
        ("p.yaml", "- {audio: a.wav, [a]: b}"),
        ("p.yaml", "? - a\n"),
    ],
)
def test_a_plan_is_refused_at_once(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    in_time(lambda: load_plan(tmp_path / name, Fraction(25)))


def test_a_plan_may_name_a_file_that_no_system_takes(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"- {{audio: a.wav, face: {'a' * 300}.png}}")
    assert load_plan(tmp_path / "p.yaml").entries[0].face == "a" * 300 + ".png"


@pytest.mark.parametrize("text", ["1e99999999", "1e999", "9" * 30, "1/0", "nan", "inf", "1_0", "", "0x10", "1e8"])
def test_times_beyond_any_video_are_refused(text: str) -> None:
    in_time(lambda: parse_time("start_s", text))


def test_times_as_people_write_them_stay_exact() -> None:
    assert parse_time("t", "1e-3") == Fraction(1, 1000)
    assert parse_time("t", " 1001/30000 ") == Fraction(1001, 30000)
    assert exact("-.5") == Fraction(-1, 2)


def test_what_yaml_1_1_guesses_stays_text() -> None:
    assert parse_yaml("[1:30, 2020-01-31, 1e-4, 0x10, 010, +3, 1_000, .5, null, yes]") == [
        "1:30", "2020-01-31", 1e-4, 16, 8, 3, 1000, 0.5, None, True,
    ]  # fmt: skip


def test_aliases_that_stand_for_little_are_taken() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: *x}}") == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    with pytest.raises(yaml.YAMLError):
        parse_yaml("a: [1")


def test_a_preset_that_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in in_time(lambda: load_preset(str(tmp_path)))
    assert "cannot be opened" in in_time(lambda: load_preset("a" * 300))
    assert "choose balanced" in in_time(lambda: load_preset("fastest"))
