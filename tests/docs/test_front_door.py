"""README, citation, workflows, site: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import latentsync
from latentsync.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
README_LINES = 100


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_fits_two_screens_and_names_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= README_LINES
    assert {"demo", "test"} <= {line.split()[1] for line in lines if line.startswith("make ")}


def test_make_targets_named_anywhere_exist() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.yml"),
    ]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:`|: |^ *)make ([a-z]+)(?=`|\s+[A-Z#]|$)", page.read_text("utf-8"), re.M)
    }
    assert {"demo", "test", "resolve", "package", "docs"} <= named
    assert named <= targets()


def test_commands_named_in_the_docs_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name for page in pages for name in re.findall(r"(?:`|^ *)latentsync ([a-z]+)\b", page.read_text("utf-8"), re.M)
    }
    assert named <= set(COMMANDS)


def test_every_page_is_on_the_site() -> None:
    def pages(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        inner = entry if isinstance(entry, list) else list(entry.values()) if isinstance(entry, dict) else []
        return {page for each in inner for page in pages(each)}

    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text("utf-8"))
    nav = yaml.safe_load(text)["nav"]
    assert pages(nav) == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == latentsync.__version__
    assert citation["license"] == "Apache-2.0"


def test_the_moving_picture_is_small_and_moves() -> None:
    data = (ROOT / "docs" / "pictures" / "demo.webp").read_bytes()
    assert len(data) < 1_000_000
    assert data[:4] == b"RIFF" and b"ANIM" in data[:64]
