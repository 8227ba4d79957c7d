"""Packages: the same bytes whenever they are built, and what must and must not be inside."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_script", ROOT / "packaging" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_sdist(path: Path, names: list[str], time: int) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid, member.uname = 3, time, time % 1000, "somebody"
            archive.addfile(member, io.BytesIO(b"abc"))


def test_time_owner_and_order_leave_no_trace(build: ModuleType, tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    write_sdist(one, ["p-1/a", "p-1/b"], 1_600_000_000)
    write_sdist(two, ["p-1/b", "p-1/a"], 1_700_000_123)
    assert build.sha256(one) != build.sha256(two)
    for path in (one, two):
        build.normalise(path, 1_500_000_000)
    assert build.sha256(one) == build.sha256(two)
    with tarfile.open(one) as archive:
        assert archive.getnames() == ["p-1/a", "p-1/b"]
        assert {member.mtime for member in archive} == {1_500_000_000}


def test_what_is_missing_or_too_much_is_named(build: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "p.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (*build.INSIDE[1:], "p.dist-info/LICENSE", f"{build.OUTSIDE[0]}x"):
            archive.writestr(name, "")
    problems = "\n".join(build.check_wheel(wheel))
    assert f"{build.INSIDE[0]} is missing" in problems
    assert "NOTICE is missing" in problems and "LICENSE is missing" not in problems
    assert f"{build.OUTSIDE[0]}x does not belong" in problems


def test_a_wheel_that_is_too_large_is_refused(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "p.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a", "x" * 2000)
    monkeypatch.setattr(build, "LARGEST_WHEEL_BYTES", 1000)
    assert any("more than" in problem for problem in build.check_wheel(wheel))
