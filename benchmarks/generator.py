"""Processor time of a model's networks: encode, denoise, decode. `python benchmarks/generator.py --model tiny`.

One thread, random pictures and states, a head that is held still; median of 5, milliseconds of processor time: of all,
and of U-Net and decoder alone. Where lips of the references are moved as speech tells, every frame has lips of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from latentsync import Lipsync
from latentsync.config.options import SyncOptions
from latentsync.faces import topology as mesh
from latentsync.generation import sampler_for
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.tiny.pose_warp import head_move
from latentsync.generation.tiny.references import ChunkReferences, reference_lips

LOUD = 10
"""Times the spread of noise that the states have: lips then move as in speech."""


def timed(call: Callable[..., torch.Tensor], total: list[float]) -> Callable[..., torch.Tensor]:
    """The call, which adds its processor time to `total[0]`, seconds."""

    def run(*args: object, **named: object) -> torch.Tensor:
        started = time.process_time()
        made = call(*args, **named)
        total[0] += time.process_time() - started
        return made

    return run


def main() -> None:
    """Print one JSON line for each number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lipsync = Lipsync.from_pretrained(args.model)
    sampler = sampler_for(lipsync.networks, lipsync.settings, SyncOptions())
    tiny = lipsync.settings.tiny
    count = 0 if tiny is None else tiny.num_references
    rng, side = np.random.default_rng(0), lipsync.settings.resolution
    parts = [0.0]
    unet, autoencoder = lipsync.networks.unet, lipsync.networks.autoencoder
    unet.forward, autoencoder.decode = timed(unet.forward, parts), timed(autoencoder.decode, parts)
    for frames in args.frames:
        crops = rng.random((frames, side, side, 3), dtype=np.float32)
        audio_features = LOUD * torch.randn(frames, 10, lipsync.networks.unet.config.cross_attention_dim)
        moves = mouths = None
        if tiny is not None and tiny.warp != "none":
            points = rng.random((468, 2), dtype=np.float32) * side
            for eye, across in ((mesh.LEFT_EYE_OUTER, 0.3), (mesh.RIGHT_EYE_OUTER, 0.7)):
                points[eye] = across * side, 0.4 * side
            moves = np.tile(head_move(points, points, side), (frames, count, 1, 1))
            if tiny.warp == "lips":
                mouths = reference_lips(np.stack([points] * count), crops[:count])
        references = ChunkReferences(crops[:count], moves, mouths) if count else None  # of one track, as in a film
        spent, drawing = [], []
        for _ in range(6):
            parts[0] = 0.0
            started = time.process_time()
            sampler.finish(sampler.prepare(ChunkInputs(crops, audio_features, range(frames), references)))
            spent.append((time.process_time() - started) * 1e3)
            drawing.append(parts[0] * 1e3)
        print(json.dumps({"frames": frames, "cpu_ms": round(statistics.median(spent[1:])),
                          "unet_and_decoder_ms": round(statistics.median(drawing[1:])),
                          "dtype": str(lipsync.networks.dtype)}))  # fmt: skip


if __name__ == "__main__":
    main()
