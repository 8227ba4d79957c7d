"""What it costs when OpenMP's threads spin while they wait: tiny on one chunk of 16 frames, two processes in turn.

    python benchmarks/waiting.py

Worth a look on a machine that is busy with other work; on an idle one both are alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS, FRAMES = 4, 16


def measure() -> None:
    """Print wall and processor milliseconds a frame, medians."""
    import numpy as np

    from latentsync import Lipsync

    lipsync = Lipsync.from_pretrained("tiny", offline=True)
    parts = lipsync.networks
    import torch

    crops = torch.from_numpy(np.random.default_rng(0).random((FRAMES, 3, 256, 256)).astype(np.float32))
    wall, processor = [], []
    with torch.no_grad():
        for _ in range(ROUNDS + 1):
            started, spent = time.perf_counter(), time.process_time()
            parts.autoencoder.decode(parts.autoencoder.encode(crops.to(parts.dtype)))
            wall.append((time.perf_counter() - started) / FRAMES * 1e3)
            processor.append((time.process_time() - spent) / FRAMES * 1e3)
    print(
        f"{statistics.median(wall[1:]):7.1f} ms by the clock, {statistics.median(processor[1:]):7.1f} ms of processors"
    )


def main() -> None:
    """See the module's text."""
    if "--one" in sys.argv:
        measure()
        return
    for policy in ("PASSIVE", "ACTIVE"):
        print(f"{policy:8}", end="", flush=True)
        subprocess.run([sys.executable, __file__, "--one"], check=True, env=os.environ | {"OMP_WAIT_POLICY": policy})


if __name__ == "__main__":
    main()
