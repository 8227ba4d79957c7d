"""How long the command line takes to answer: `python benchmarks/startup.py`. Whole processes, median of several runs.

Python's own start is measured beside it: on a slow disk or a busy machine it is most of the time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import latentsync": [sys.executable, "-c", "import latentsync"],
    "latentsync --help": [sys.executable, "-m", "latentsync", "--help"],
    "latentsync --version": [sys.executable, "-m", "latentsync", "--version"],
    "latentsync sync --help": [sys.executable, "-m", "latentsync", "sync", "--help"],
    "load tiny": [sys.executable, "-c", "from latentsync import Lipsync; Lipsync.from_pretrained('tiny')"],
}


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    for command in CASES.values():  # compile and read everything once
        seconds(command)
    for name, command in CASES.items():
        times = [seconds(command) for _ in range(RUNS)]
        print(f"{name:<24} {statistics.median(times):.3f} s  (fastest {min(times):.3f} s, {RUNS} runs)")


if __name__ == "__main__":
    main()
