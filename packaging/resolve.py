"""Do all supported Pythons and systems find wheels for what the package needs? `python packaging/resolve.py`.

Resolves `pyproject.toml` with uv, from wheels only, for Python 3.11 to 3.14 on Linux (x86-64 and
arm64), macOS 14 (arm64) and Windows; each with the newest versions and with the lowest that are asked for. Nothing is
installed or downloaded but metadata. Needs `uv` and a package index. Exit code 1 where anything cannot be resolved.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS 14 arm64": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
"""The oldest macOS for which there are wheels of PyAV 17 and later; uv takes 13 unless told."""
WAYS = {"newest": "highest", "lowest": "lowest-direct"}
WATCHED = ("torch", "av", "numpy", "ai-edge-litert")


@dataclass(frozen=True)
class Case:
    python: str
    platform: str
    way: str


@dataclass(frozen=True)
class Outcome:
    case: Case
    versions: dict[str, str]
    error: str

    @property
    def line(self) -> str:
        told = ", ".join(f"{name} {self.versions[name]}" for name in WATCHED if name in self.versions)
        return f"{'FAILED' if self.error else 'ok':<7}{told or self.error}"


def resolve(case: Case, extras: str) -> Outcome:
    """Ask uv for one case. `error` is the first lines of what it says where there is no answer."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "all.txt"
        command = [
            sys.executable, "-m", "uv", "pip", "compile", str(ROOT / "pyproject.toml"), "--quiet", "--no-header",
            "--no-annotate", "--only-binary", ":all:", "--python-version", case.python,
            "--python-platform", PLATFORMS[case.platform], "--resolution", WAYS[case.way], "--output-file", str(out),
        ]  # fmt: skip
        command += [argument for extra in extras.split(",") if extra for argument in ("--extra", extra)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | MACOS)
        if done.returncode:
            return Outcome(case, {}, " ".join(done.stderr.split())[:300])
        pairs = [line.split(";")[0].strip().partition("==") for line in out.read_text().splitlines() if "==" in line]
    return Outcome(case, {name: version for name, _, version in pairs}, "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="", help="of pyproject.toml, with commas")
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="VERSION")
    parser.add_argument("--platform", nargs="+", default=list(PLATFORMS), choices=list(PLATFORMS))
    parser.add_argument("--way", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parser.parse_args()
    cases = [Case(*case) for case in product(given.python, given.platform, given.way)]
    failed = 0
    with ThreadPoolExecutor(4) as pool:
        for outcome in pool.map(lambda case: resolve(case, given.extras), cases):
            failed += bool(outcome.error)
            case = outcome.case
            print(f"Python {case.python}  {case.platform:<15}{case.way:<8}{outcome.line}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} resolved")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
