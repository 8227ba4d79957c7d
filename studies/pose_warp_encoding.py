"""How often must a turned reference be encoded? What mixing latents between costs, by the limit between two of them.

    python studies/pose_warp_encoding.py --data clips/ --limit 0.5 1 2

For each person one clip of the folders that `latentsync data build --training` wrote. Chunks of 8 frames; distances in
pixels of a 256 px crop. PSNR is that of the decoded mixtures against references that are encoded in every frame,
sharpness and trembling (second difference in time) are theirs over those of these.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync import Lipsync
from latentsync.config.options import SyncOptions
from latentsync.core.values import Float
from latentsync.generation.tiny import sampler as tiny
from latentsync.generation.tiny.pose_warp import head_moves, key_frames, smoothed
from latentsync.generation.tiny.references import STEADY, ChunkReferences, choose_references
from latentsync.training.datasets import num_frames, open_data

CHUNK, FRAMES, CANDIDATES = 8, 96, 50


def main() -> None:
    """Print one JSON line for each person and limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--limit", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--people", nargs="+", help="whose names hold one of these; default: everybody")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lipsync = Lipsync.from_pretrained(args.model)
    generator = tiny.TinySampler(lipsync.networks, lipsync.settings, SyncOptions())
    data = open_data(args.data)
    seen: set[str] = set()
    for clip in [*data.val, *data.train]:
        count = min(num_frames(clip), FRAMES) // CHUNK * CHUNK
        if clip.person in seen or not count or not any(part in clip.person for part in args.people or [""]):
            continue
        seen.add(clip.person)
        meshes = np.asarray(clip.mesh[:count], np.float32)
        pick = choose_references(meshes[:CANDIDATES])[0]
        still = np.asarray(clip.crops[pick], np.float32) / np.float32(255)
        moves = smoothed(head_moves(meshes, meshes[[pick]], len(still)), STEADY)
        exact, _ = turned(generator, still, moves, 0.0)
        for limit in args.limit:
            mixed, encoded = turned(generator, still, moves, limit / 256)
            print(json.dumps({"person": clip.person, "limit_px": limit, "encoded_per_frame": round(encoded / count, 2),
                              **compared(mixed, exact)}), flush=True)  # fmt: skip


@torch.no_grad()
def turned(generator: tiny.TinySampler, still: Float, moves: Float, limit: float) -> tuple[Tensor, int]:
    """The references as decoded, (F, 3, h, w) in [0, 1], and how many were encoded."""
    tiny.KEY_FRAME_WAY = limit
    autoencoder, out, encoded = generator.networks.autoencoder, [], 0
    for first in range(0, len(moves), CHUNK):
        part = moves[first : first + CHUNK]
        latents, _ = generator.encode_references(ChunkReferences(still[None], part), len(part))
        encoded += len(key_frames(part[:, 0], limit, tiny.SAME_PLACE))
        out.append(autoencoder.decode(latents.contiguous(memory_format=torch.channels_last)).float() / 2 + 0.5)
    return torch.cat(out).clamp(0, 1), encoded


def compared(made: Tensor, exact: Tensor) -> dict[str, float]:
    """PSNR, worst frame's PSNR, sharpness and trembling of (F, 3, h, w)."""
    error = (made - exact).square().mean((1, 2, 3)).clamp_min(1e-10)

    def detail(x: Tensor) -> float:
        return float(x.diff(dim=-1).square().mean() + x.diff(dim=-2).square().mean())

    def trembling(x: Tensor) -> float:
        return float(x.diff(n=2, dim=0).square().mean().sqrt())

    return {
        "psnr_db": round(-10 * float(error.mean().log10()), 1), "worst_db": round(-10 * float(error.max().log10()), 1),
        "sharpness": round(detail(made) / detail(exact), 3), "trembling": round(trembling(made) / trembling(exact), 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
