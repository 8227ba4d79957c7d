"""Setting up: what is refused, which PyTorch is taken, and what is said before a download."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "packaging" / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_another_python_is_refused_in_one_line(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "PYTHONS", ((3, 98), (3, 99)))
    monkeypatch.setattr(sys, "argv", ["environment.py", str(tmp_path / "new")])
    assert environment.main() == 1
    assert "3.98 to 3.99 is needed" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_left_alone(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="holds no Python"):
        environment.make(tmp_path, tmp_path / "bin" / "python")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_the_user_says_of_torch_wins_and_so_does_an_own_index(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.chosen_torch("torch==2.8.0 --index-url X") == ["torch==2.8.0", "--index-url", "X"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")
    assert environment.chosen_torch("auto") == [environment.TORCH]


def test_an_index_that_does_not_answer_means_the_usual_build(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setattr(environment, "CPU_INDEX", "http://127.0.0.1:9")
    assert environment.chosen_torch("auto") == [environment.TORCH]


def test_sizes_are_those_of_the_files(environment: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"x" * 1234)
    assert environment.sizes([file.as_uri(), (tmp_path / "gone.whl").as_uri()]) == [1234, 0]


def test_pips_own_words_are_shown_where_it_fails(environment: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="no such option"):
        environment.pip(Path(sys.executable), ["install", "--no-such-option"])
