"""The README's moving picture: the shipped sample beside what `latentsync demo` makes of it.

    latentsync demo && python recipes/sample/moving_picture.py outputs/talk-speech.mp4 docs/pictures/demo.webp

Source left, result right, every second frame, as an animated WebP. Needs Pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from latentsync.cli.demo import SAMPLE, sample
from latentsync.core.values import Bytes
from latentsync.media import VideoReader

SIDE_PX = 240
EVERY = 2
LARGEST_BYTES = 1_000_000


def pictures(path: Path, seconds: float) -> list[Bytes]:
    """Every second frame as (side, side, 3) uint8, the middle of the picture."""
    found = []
    with VideoReader(path) as reader:
        for index, frame in enumerate(reader):
            if index >= seconds * reader.info.fps:
                break
            if index % EVERY == 0:
                rgb = frame.picture.rgb()
                side = min(rgb.shape[:2])
                top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
                square = rgb[top : top + side, left : left + side]
                found.append(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--quality", type=int, default=60)
    given = parser.parse_args()
    pairs = zip(pictures(sample(SAMPLE[0]), given.seconds), pictures(given.result, given.seconds), strict=False)
    gap = np.full((SIDE_PX, 6, 3), 255, np.uint8)
    frames = [Image.fromarray(np.concatenate([left, gap, right], axis=1)) for left, right in pairs]
    frames[0].save(
        given.out, save_all=True, append_images=frames[1:], duration=40 * EVERY, loop=0, quality=given.quality, method=6
    )
    size = given.out.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(
            f"{given.out}: {size} bytes are too many for a README. Choose fewer --seconds or less --quality."
        )
    print(f"{given.out}: {len(frames)} frames, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
