"""GroupNorm of channels-last activations on a CPU: PyTorch's own kernel against `models.norm.group_norm`.

    python benchmarks/norm.py

Prints one JSON line for each shape: processor milliseconds of the calling thread, the lower quartile of 30 runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from latentsync.models.norm import group_norm

SHAPES = ((1, 96, 80, 12), (1, 192, 40, 6), (8, 192, 5, 6), (1, 288, 80, 12), (16, 192, 16, 16))
"""The first four are `tiny`'s: eight frames pooled, or each on its own."""


def spent_ms(work: Callable[[], object], runs: int = 30) -> float:
    """Lower quartile of the time that the calling thread works."""
    times = []
    for _ in range(runs):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return round(float(np.quantile(times, 0.25)) * 1e3, 3)


@torch.no_grad()
def main() -> None:
    """See the module's text."""
    torch.set_num_threads(1)
    for shape in SHAPES:
        hidden = torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)
        norm = nn.GroupNorm(32, shape[1]).bfloat16()
        given = {
            "own": spent_ms(lambda n=norm, x=hidden: n(x)),
            "ours": spent_ms(lambda n=norm, x=hidden: group_norm(n, x)),
        }
        print(json.dumps({"shape": shape} | given))


if __name__ == "__main__":
    main()
