"""Processor time, size and error of encoder settings: `python benchmarks/encoders.py VIDEO [--frames 50]`.

Every setting codes the same decoded frames; processor time is of all threads, PSNR that of luma. Settings that are not
ours are there to compare with.
"""

from __future__ import annotations

import argparse
import io
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from latentsync.media import VideoReader
from latentsync.media.codecs import encoder_for

SETTINGS = {
    "x264 veryfast, crf 17": ("libx264", {"preset": "veryfast", "crf": "17"}),
    "x264 superfast, crf 17": ("libx264", {"preset": "superfast", "crf": "17"}),
    "x265 veryfast, crf 18": ("libx265", {"preset": "veryfast", "crf": "18", "x265-params": "log-level=error"}),
    "x265 superfast, crf 18": ("libx265", {"preset": "superfast", "crf": "18", "x265-params": "log-level=error"}),
}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=50)
    args = parser.parse_args()
    with VideoReader(args.video) as reader:
        started = time.process_time()
        frames = [frame.picture.frame for frame in islice(reader, args.frames)]  # type: ignore[attr-defined]
        print(f"decode {reader.info.codec:<18} {(time.process_time() - started) / len(frames) * 1e3:7.1f} ms")
    ours = {}
    for name in ("h264", "hevc"):
        encoder = encoder_for(".mp4", name, None)
        ours[f"ours, {name}, crf {encoder.crf:g}"] = (encoder.name, dict(encoder.options) | {"crf": f"{encoder.crf:g}"})
    for name, (codec, options) in (SETTINGS | ours).items():
        print(f"{name:<25} {measured(frames, codec, options)}", flush=True)


def measured(frames: list[av.VideoFrame], codec: str, options: dict[str, str]) -> str:
    """One line of the table."""
    buffer = io.BytesIO()
    started = time.process_time()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        stream.codec_context.thread_type = "AUTO"
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, 25), 0
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    spent_ms = (time.process_time() - started) / len(frames) * 1e3
    megabits = buffer.tell() * 8 * 25 / len(frames) / 1e6
    buffer.seek(0)
    with av.open(buffer) as file:
        errors = [
            np.square(luma(made).astype(np.float32) - luma(frames[index])).mean()
            for index, made in enumerate(file.decode(video=0))
            if index % 5 == 0
        ]
    return f"{spent_ms:7.1f} ms  {megabits:6.2f} Mbit/s  {10 * np.log10(255**2 / np.mean(errors)):6.2f} dB"


def luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


if __name__ == "__main__":
    main()
