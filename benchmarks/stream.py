"""Everything but the networks: decode, follow, align, paste, encode, with the generator replaced by identity.

    python benchmarks/stream.py VIDEO [--seconds 10] [--size 1920x1080]
    python benchmarks/stream.py VIDEO --memory      peak resident memory of 10 s and of 5 min, each in its own process

The video is looped to the wanted length and, with --size, scaled first. Prints one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync import Lipsync
from latentsync.core.values import Float
from latentsync.media import VideoReader, write_wav
from latentsync.pipeline import lipsync as module
from latentsync.pipeline.generate import Generator


class Identity(Generator):
    """The crops as they are: every other stage runs as always."""

    def __call__(self, crops: Float, windows: object, frames: Sequence[int], still: object = None) -> Float:  # type: ignore[override]
        return crops


def scaled(video: Path, size: tuple[int, int], out: Path) -> Path:
    """The video at another size, near-lossless H.264."""
    with VideoReader(video) as reader, av.open(str(out), "w") as file:
        stream = file.add_stream("libx264", rate=reader.info.fps, options={"crf": "15", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for frame in reader:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.picture.rgb()), "rgb24")
            picture = picture.reformat(*size, format="yuv420p", interpolation="LANCZOS")
            picture.pts, picture.time_base = frame.index, 1 / Fraction(reader.info.fps)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return out


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--size")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--real", action="store_true", help="with the real generator")
    args = parser.parse_args()
    if args.memory:
        for seconds in (10, 300):
            command = [sys.executable, __file__, str(args.video), "--seconds", str(seconds), "--model", args.model]
            if args.size:
                command += ["--size", args.size]
            subprocess.run(command + (["--real"] if args.real else []), check=True)
        return
    if not args.real:
        module.Generator = Identity  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        video = args.video
        if args.size:
            width, height = map(int, args.size.split("x"))
            video = scaled(video, (width, height), Path(folder) / "scaled.mp4")
        wave = Path(folder) / "speech.wav"
        samples = np.random.default_rng(0).normal(0, 0.05, int(args.seconds * 16000)).astype(np.float32)
        write_wav(wave, samples)
        result = Lipsync.from_pretrained(args.model)(video, wave, Path(folder) / "out.mp4")
    told = result.as_dict()
    per_frame = {k: round(1000 * v / result.num_frames, 2) for k, v in result.seconds_by_stage.items()}
    keys = ("num_frames", "num_edited", "frames_per_s", "peak_memory_gib")
    told = {k: round(told[k], 3) for k in keys} | {"ms_per_frame": per_frame}
    print(json.dumps(told | {"generator": "real" if args.real else "identity", "seconds": args.seconds}))


if __name__ == "__main__":
    main()
