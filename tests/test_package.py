"""The package as a whole: light to import, its data shipped, its dependencies open upwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import resources
from importlib.metadata import entry_points, metadata, requires
from pathlib import Path

import pytest

import latentsync

ROOT = Path(__file__).parents[1]


def test_import_is_light() -> None:
    code = "import sys, latentsync; print([n for n in ('torch', 'numpy', 'cv2', 'av', 'yaml') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_error_to_catch_is_at_the_top_and_as_light() -> None:
    code = (
        "import sys\nfrom latentsync import LatentSyncError\n"
        "print([n for n in ('torch', 'numpy') if n in sys.modules])\n"
        "from latentsync.core.errors import LatentSyncError as own\nassert LatentSyncError is own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"LatentSyncError", "Lipsync"} <= set(latentsync.__all__)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says its settings on demand")
def test_threads_of_a_first_torch_sleep_while_they_wait_and_the_environment_stays() -> None:
    code = "import os\nfrom latentsync import Lipsync\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    for own, policy in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environ = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        environ |= {"OMP_DISPLAY_ENV": "TRUE"} | ({} if own is None else {"OMP_WAIT_POLICY": own})
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
        assert re.search(rf"OMP_WAIT_POLICY\s*=\s*'{policy}'", done.stderr)
        assert done.stdout.strip() == str(own)


def test_version_agrees_with_the_metadata() -> None:
    assert metadata("latentsync")["Version"] == latentsync.__version__


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="Lipsynk"):
        latentsync.Lipsynk  # noqa: B018


def test_dependencies_have_a_lower_bound_and_no_upper_one() -> None:
    wanted = [line.split(";")[0].strip() for line in requires("latentsync") or [] if "extra ==" not in line]
    assert wanted
    for line in wanted:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+>=[0-9.]+", line), line


def test_torch_is_one_that_loads_checkpoints_without_running_them() -> None:
    """Below 2.6 `torch.load(weights_only=True)` runs code, CVE-2025-32434."""
    found = re.search(r'"torch>=(\d+)\.(\d+)', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert found is not None and tuple(map(int, found.groups())) >= (2, 6)


@pytest.mark.parametrize(
    "name", ["torchvision", "insightface", "mediapipe", "decord", "dlib", "mmcv", "librosa", "scipy"]
)
def test_the_core_does_without(name: str) -> None:
    assert not [
        line for line in requires("latentsync") or [] if "extra ==" not in line and line.lower().startswith(name)
    ]


def test_data_files_are_found_as_package_data() -> None:
    package = resources.files("latentsync")
    assert (package / "py.typed").is_file()
    assert (package / "config" / "presets" / "sync" / "balanced.yaml").is_file()


def test_the_command_is_an_entry_point() -> None:
    (script,) = [point for point in entry_points(group="console_scripts") if point.name == "latentsync"]
    assert callable(script.load())


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
)
def test_links_inside_the_documents_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_no_binary_over_100_kb_in_the_tests() -> None:
    files = [path for path in (ROOT / "tests").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert not [path for path in files if path.stat().st_size > 100_000]


def test_the_readme_shows_a_result() -> None:
    assert re.search(r"^!\[.+\]\(docs/pictures/.+\)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
