"""What `--render smart` saves: a film of which one tenth is edited, written in full and smart, in turn.

    python benchmarks/smart_render.py film.mp4 [--minutes 10]

The film is repeated to the length by copying its packets. Frames of one tenth, in the middle, are marked as edited.
Seconds are those of the processor, of all threads: they hardly depend on what else the machine does. Decoding is in
both; finding and drawing faces is in neither.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from latentsync.media import VideoReader, VideoWriter
from latentsync.media.smart import SmartPlan


def repeated(source: Path, target: Path, seconds: float) -> Path:
    """The picture of a film over and over, by its packets."""
    with av.open(str(target), "w") as out:
        stream, shift = None, 0
        while stream is None or shift * stream.time_base < seconds:
            with av.open(str(source)) as file:
                video = file.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                end = 0
                for packet in file.demux(video):
                    if packet.pts is None or packet.dts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)
                shift += end
    return target


def render(film: Path, out: Path, smart: bool) -> tuple[float, float, int]:
    """(processor seconds, wall seconds, frames copied)."""
    cpu, wall = time.process_time(), time.monotonic()
    with VideoReader(film) as reader:
        whole_s = reader.info.duration_s or Fraction(1)
        plan = SmartPlan(film) if smart else None
        with VideoWriter(out, reader.info, smart=plan) as writer:
            for frame in reader:
                writer.write(frame, whole_s * 9 / 20 <= frame.time_s < whole_s * 11 / 20)
    assert not writer.losses, writer.losses
    return time.process_time() - cpu, time.monotonic() - wall, writer.num_copied


def psnr_outside(film: Path, out: Path) -> float:
    """Of luma in the frames that are not edited, dB; infinite = equal."""
    squares, count = 0.0, 0
    with VideoReader(film) as a, VideoReader(out) as b:
        whole_s = a.info.duration_s or Fraction(1)
        for before, after in zip(a, b, strict=True):
            if whole_s * 9 / 20 <= before.time_s < whole_s * 11 / 20 or before.index % 10:
                continue
            left, right = (f.picture.frame.to_ndarray()[: a.info.height].astype(np.float32) for f in (before, after))
            squares, count = squares + float(np.square(left - right).sum()), count + left.size
    return float("inf") if not squares else 10 * float(np.log10(255**2 * count / squares))


def packets(path: Path) -> list[str]:
    with av.open(str(path)) as file:
        return [hashlib.sha256(bytes(packet)).hexdigest() for packet in file.demux(video=0) if packet.size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        film = repeated(options.film, Path(folder) / f"film{options.film.suffix}", options.minutes * 60)
        before = packets(film)
        for name, smart in (("full", False), ("smart", True)):
            out = Path(folder) / f"{name}{options.film.suffix}"
            cpu, wall, copied = render(film, out, smart)
            same = sum(a == b for a, b in zip(before, packets(out), strict=True))
            print(
                f"{name:5}  processor {cpu:6.1f} s  wall {wall:6.1f} s  copied {copied} of {len(before)} frames, "
                f"{same} packets equal by hash, {out.stat().st_size / 1e6:.1f} MB, "
                f"PSNR outside the edited part {psnr_outside(film, out):.1f} dB"
            )


if __name__ == "__main__":
    main()
