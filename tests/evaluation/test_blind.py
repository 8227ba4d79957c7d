"""The blind page: nothing on it tells which is which, and its sums are right."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from latentsync.core.errors import ConfigError, MediaError
from latentsync.evaluation.blind import SCRIPT, Pair, two_of, write_blind

NAMES = ("mine", "theirs")


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    made = []
    for number in range(8):
        paths = [tmp_path / f"{name}{number}.mp4" for name in NAMES]
        for path in paths:
            path.write_bytes(path.name.encode())
        made.append(Pair(f"case{number}", *paths))
    return made


def key_of(page: Path) -> dict:
    found = re.search(r"atob\('([^']+)'\)", page.read_text())
    assert found is not None
    return json.loads(base64.b64decode(found.group(1)))


def test_every_pair_is_there_once_in_another_order_and_with_dealt_sides(tmp_path: Path, pairs: list[Pair]) -> None:
    page = write_blind(tmp_path / "out", NAMES, pairs)
    key = key_of(page)
    assert sorted(entry["name"] for entry in key["pairs"]) == [pair.name for pair in pairs]
    assert [entry["name"] for entry in key["pairs"]] != [pair.name for pair in pairs]
    assert {entry["flipped"] for entry in key["pairs"]} == {True, False}
    for entry in key["pairs"]:
        left = (page.parent / entry["left"]).read_text()
        assert left.startswith("theirs" if entry["flipped"] else "mine")
        assert left.endswith(f"{entry['name'].removeprefix('case')}.mp4")
    seen = page.read_text()
    assert not any(name in seen for name in (*NAMES, "case0"))
    assert not any(name in path.name for name in NAMES for path in (page.parent / "blind").iterdir())
    assert key_of(write_blind(tmp_path / "again", NAMES, pairs)) == key
    assert key_of(write_blind(tmp_path / "other", NAMES, pairs, seed=1)) != key


def test_nothing_to_judge_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no case has videos of both mine and theirs"):
        write_blind(tmp_path, NAMES, [])
    with pytest.raises(ConfigError, match="compares two methods"):
        two_of(["mine"])
    assert two_of(NAMES) == NAMES


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_sums_of_the_page() -> None:
    """8 of 10 decided pairs: Wilson's 95 % interval is 49 to 94.3 % (published tables)."""
    pairs = [{"flipped": number % 2 == 1} for number in range(12)]
    won = ["right" if pair["flipped"] else "left" for pair in pairs[:8]]
    lost = ["left" if pair["flipped"] else "right" for pair in pairs[8:10]]
    words = json.dumps([{"pairs": pairs}, [*won, *lost, "same", "same"]])
    program = f"{SCRIPT}\nconsole.log(JSON.stringify(tally(...{words})))"
    told = json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True).stdout)
    assert (told["first"], told["second"], told["same"]) == (8, 2, 2)
    assert told["share"] == pytest.approx([0.8, 0.490, 0.943], abs=0.001)
