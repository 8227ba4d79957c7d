"""Training time of attention on a CPU, fused kernel against plain formula: `python benchmarks/attention.py`.

Many short sequences, as the temporal layers of `tiny` have them: 256 places, 6 heads of 32, 16 frames; bf16, forward
and backward, interleaved, median of 9.
"""

from __future__ import annotations

import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def step(backend: SDPBackend) -> float:
    """CPU seconds of a forward and a backward pass."""
    q, k, v = (torch.randn(256, 6, 16, 32, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    started = time.process_time()
    with sdpa_kernel(backend):
        F.scaled_dot_product_attention(q, k, v).sum().backward()
    return time.process_time() - started


def main() -> None:
    """Print milliseconds of both and their ratio."""
    torch.set_num_threads(1)
    pairs = [(step(SDPBackend.FLASH_ATTENTION), step(SDPBackend.MATH)) for _ in range(10)][1:]
    fused, plain = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    print(json.dumps({"fused_ms": round(fused, 2), "plain_ms": round(plain, 2), "ratio": round(fused / plain, 2)}))


if __name__ == "__main__":
    main()
