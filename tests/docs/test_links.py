"""Every link and every path that prose, docstrings and presets name leads somewhere; lines fit a screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "docs", "recipes", "benchmarks", "calibration", "studies", "packaging", "examples")
KINDS = {".md", ".py", ".yaml", ".yml", ".toml", ".cff", ".ipynb"}
LONGEST = 240

MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
TREE_PATH = re.compile(
    r"(?<![\w./~-])((?:docs|recipes|benchmarks|calibration|studies|packaging|tests)/[\w./-]*\w)(#[\w-]+)?"
)
PACKAGE_PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.py)`")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def texts() -> list[Path]:
    """Files that people read: at the top and in `FOLDERS`, without what was built or installed."""
    found = [p for p in ROOT.iterdir() if p.suffix in KINDS]
    for folder in FOLDERS:
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in KINDS and "__pycache__" not in p.parts]
    return sorted(p for p in found if ".egg-info" not in str(p) and p != Path(__file__))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    plain = [
        re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", h) for h in HEADING.findall(CODE_BLOCK.sub("", page.read_text("utf-8")))
    ]
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", h.lower()).strip()) for h in plain}


def missing(target: Path, anchor: str) -> bool:
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def broken_links(page: Path) -> list[str]:
    """Links of a Markdown page to files or headings that are not there."""
    text = CODE_BLOCK.sub("", page.read_text("utf-8"))
    broken = []
    for link in MARKDOWN_LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if missing(target, anchor):
            broken.append(link)
    return broken


def broken_paths(page: Path, root: Path = ROOT) -> list[str]:
    """Paths from the project's folder, and modules as `audio/mel.py`, that are not there."""
    text = page.read_text("utf-8").replace("\\.", ".")  # as regular expressions in tests name them
    broken = [path + anchor for path, anchor in TREE_PATH.findall(text) if missing(root / path, anchor[1:])]
    package = root / "src" / "latentsync"
    homes = (root, package, package / "generation", page.parent, page.parent.parent)
    return broken + [m for m in PACKAGE_PATH.findall(text) if not any((home / m).exists() for home in homes)]


def test_links_of_every_page_lead_somewhere() -> None:
    broken = {str(p.relative_to(ROOT)): b for p in texts() if p.suffix == ".md" and (b := broken_links(p))}
    assert not broken


def test_paths_named_anywhere_exist() -> None:
    broken = {str(p.relative_to(ROOT)): b for p in texts() if (b := broken_paths(p))}
    assert not broken


def test_no_page_cites_notes_that_are_not_here() -> None:
    cited = [
        str(p.relative_to(ROOT))
        for p in texts()
        if re.search(r"reference §|reference notes", p.read_text("utf-8"), re.I)
    ]
    assert not cited


def test_lines_fit_a_screen() -> None:
    pages = [p for p in texts() if p.suffix == ".md" and p.name != "CREDITS.ICT-FaceKit.md"]
    long = [
        f"{p.relative_to(ROOT)}:{n}"
        for p in pages
        for n, line in enumerate(p.read_text("utf-8").splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert not long


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](there.md) [b](there.md#a-heading) [c](https://example.org/x)", []),
        ("[a](gone.md) [b](there.md#no-heading)", ["gone.md", "there.md#no-heading"]),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, broken: list[str]) -> None:
    (tmp_path / "there.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text(text)
    assert broken_links(page) == broken


def test_a_broken_path_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "here.md").write_text("## One\n")
    page = tmp_path / "page.py"
    page.write_text('"""See docs/here.md#one, docs/here.md#two and benchmarks/gone.py."""\n')
    assert broken_paths(page, tmp_path) == ["docs/here.md#two", "benchmarks/gone.py"]
