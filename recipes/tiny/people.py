"""Draw held-out people side by side: a row of the source, a row of the same person driven by somebody else's speech.

python recipes/tiny/people.py --data D --data E --people 12 --out docs/pictures/tiny-people.jpg

Each row is a run of the whole tool on the clip's crops.
"""

from __future__ import annotations

import argparse
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from latentsync import Lipsync
from latentsync.training.datasets import num_frames, open_data
from latentsync.training.tasks.tiny_unet.data import STILL_FRAMES
from latentsync.training.tasks.tiny_unet.validate import Drive, drives_of

FRAMES = 7
PART = (slice(88, 240), slice(36, 220))
"""Rows and columns of the 256 px crop that are shown."""
SAMPLES_PER_FRAME = 640


def speech_of(drive: Drive) -> np.ndarray:
    """(S,) float32 mono at 16 kHz."""
    parts = []
    for piece in drive.speech:
        first, last = (SAMPLES_PER_FRAME * frame for frame in (piece.start, piece.start + piece.count))
        parts.append(np.asarray(piece.clip.wave, np.float32)[first:last])
    return np.concatenate(parts)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="prepared clips; may be repeated")
    parser.add_argument("--model", default="tiny", help="name or folder")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sources = []
    for folder in args.data:
        clips = [clip for clip in open_data([folder]).val if num_frames(clip) > STILL_FRAMES]
        sources.append(list({clip.person: clip for clip in clips}.values()))
    people = [clip for group in zip_longest(*sources) for clip in group if clip is not None][: args.people]
    lipsync = Lipsync.from_pretrained(args.model)
    blocks = []
    for drive in drives_of(people, len(people)):
        crops = np.ascontiguousarray(drive.person.crops[: num_frames(drive.person)])
        made = np.stack(list(lipsync.stream(crops, speech_of(drive))))
        if np.array_equal(made, crops):
            raise SystemExit(f"{drive.person.person}: no face was found in these crops, nothing was changed")
        picks = np.linspace(0.2 * len(crops), 0.9 * len(crops), FRAMES).astype(int)
        blocks.append(
            np.concatenate([np.concatenate(list(p[picks][:, PART[0], PART[1]]), axis=1) for p in (crops, made)])
        )
    half = -(-len(blocks) // 2)
    columns = [
        np.concatenate(blocks[:half]),
        np.concatenate([*blocks[half:], *[np.full_like(blocks[0], 255)] * (2 * half - len(blocks))]),
    ]
    picture = np.concatenate([columns[0], np.full((len(columns[0]), 12, 3), 255, np.uint8), columns[1]], axis=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:, :, ::-1])


if __name__ == "__main__":
    main()
