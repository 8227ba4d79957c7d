"""Speed of the media floor: reading, editing a face region, writing, and all three together.

    python benchmarks/media.py [VIDEO] [--frames 100] [--threads 1]

Without a video, a 1080 × 1920 clip is made first. Regions, blending and thumbnails: median processor time of one thread
in milliseconds, which other work on the machine disturbs little (so leave --threads at 1). Decoding and encoding: mean
time by the clock. The last line is the frame rate by the clock of reading, editing and writing at the same time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.values import Frame
from latentsync.media import Prefetch, RgbPicture, VideoInfo, VideoReader, VideoWriter

FACE = (450, 600)  # width and height of the edited region, as in docs/speed.md


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV")
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or make_clip(Path(folder) / "clip.mp4", arguments.frames)
        measure(video, Path(folder) / "out.mp4", arguments.frames)


def make_clip(path: Path, num_frames: int) -> Path:
    """A moving soft pattern with grain, 1080 × 1920 at 25 frames per second."""
    info = VideoInfo(width=1080, height=1920, fps=Fraction(25), colorspace=1, color_range=1)
    noise = np.random.default_rng(0)
    ground = cv2.resize(
        noise.integers(0, 256, (40, 24, 3), dtype=np.uint8), (1200, 2000), interpolation=cv2.INTER_CUBIC
    )
    ground = cv2.add(ground, noise.integers(0, 8, ground.shape, dtype=np.uint8))
    with VideoWriter(path, info, crf=20) as writer:
        for number in range(num_frames):
            shift = number % 60
            picture = RgbPicture(np.ascontiguousarray(ground[shift : shift + 1920, shift : shift + 1080]))
            writer.write(Frame(number, Fraction(number, 25), picture))
    return path


def measure(video: Path, out: Path, num_frames: int) -> None:
    with VideoReader(video) as reader:
        print(f"{video.name}: {reader.info.width}x{reader.info.height} {reader.info.codec} {reader.info.pix_fmt}")
        box = face_box(reader.info)
        frames, decode_ms = [], []
        started = time.perf_counter()
        for frame in reader:
            decode_ms.append((time.perf_counter() - started) * 1e3)
            if len(frames) < 20:
                frames.append(frame)
            started = time.perf_counter()
            if len(decode_ms) == num_frames:
                break
    # Frame threads hand frames over in bursts: the mean says what decoding costs, the median would not.
    print(f"decode            {statistics.mean(decode_ms):7.2f} ms")
    alpha = np.zeros((box[3] - box[1], box[2] - box[0]), np.float32)
    alpha[20:-20, 20:-20] = 1
    alpha = cv2.GaussianBlur(alpha, (0, 0), 6)
    pictures = [frame.picture for frame in frames]
    patches = [picture.region(box) for picture in pictures]
    print(f"region {box[2] - box[0]}x{box[3] - box[1]}    {timed(pictures, lambda p, _: p.region(box)):7.2f} ms")
    print(f"blend             {timed(pictures, lambda p, k: p.blend(box, patches[k], alpha)):7.2f} ms")
    print(f"thumbnail 256     {timed(pictures, lambda p, _: p.thumbnail(256)):7.2f} ms")
    print(f"whole frame rgb   {timed(pictures[:5], lambda p, _: p.rgb()):7.2f} ms")
    with VideoReader(video) as reader:
        started = time.perf_counter()
        with VideoWriter(out, reader.info) as writer:
            for number in range(num_frames):
                frame = frames[number % len(frames)]
                writer.write(Frame(number, number / reader.info.fps, frame.picture))
        print(f"encode {writer.encoder.name:<10} {(time.perf_counter() - started) / num_frames * 1e3:7.2f} ms")
        started, count = time.perf_counter(), 0
        with VideoWriter(out, reader.info) as writer, Prefetch(reader) as ahead:
            for frame in ahead:
                frame.picture.thumbnail(256)
                patch = frame.picture.region(box)
                writer.write(Frame(frame.index, frame.time_s, frame.picture.blend(box, patch, alpha)))
                count += 1
                if count == num_frames:
                    break
        print(f"read, edit, write {count / (time.perf_counter() - started):7.1f} frames/s")


def face_box(info: VideoInfo) -> tuple[int, int, int, int]:
    width, height = min(FACE[0], info.width), min(FACE[1], info.height)
    left, top = (info.width - width) // 2, (info.height - height) // 2
    return left, top, left + width, top + height


def timed(pictures: list, work: Callable) -> float:
    times = []
    for _ in range(3):
        for number, picture in enumerate(pictures):
            started = time.thread_time()
            work(picture, number)
            times.append((time.thread_time() - started) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
