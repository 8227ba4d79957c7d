"""Everything but the networks: decode, follow, align, paste, encode, with the generator replaced by identity.

    python benchmarks/stream.py VIDEO [--seconds 10] [--size 1920x1080]
    python benchmarks/stream.py VIDEO --stages      processor time of each stage alone, ms a frame
    python benchmarks/stream.py VIDEO --memory      peak resident memory of 10 s and of 5 min, each in its own process

A video that is too short is repeated: its packets in a file of the wanted length, so that memory tells what a long film
takes. With --length loop or ping_pong the run repeats it itself. With --size it is scaled first. Prints one JSON line a
run. Processor time (all threads, user and system) is hardly disturbed by other work on the machine; frames a second by
the clock are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from latentsync import Lipsync
from latentsync.core.values import AlignedFace, Face, Float, Frame
from latentsync.faces import FaceFollower, MeshTracker, extract_crop, inpaint_mask, paste_mouth
from latentsync.faces.shots import ShotDetector
from latentsync.generation import sampler_for
from latentsync.generation.protocol import ChunkInputs
from latentsync.media import VideoReader, VideoWriter, write_wav
from latentsync.media.information import probe
from latentsync.pipeline import lipsync as module
from latentsync.pipeline.threads import one_opencv_thread


class Identity:
    """A sampler that gives the crops as they are: every other stage runs as always."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self.mask, self.reference_frames = sampler.mask, sampler.reference_frames
        self.choose_references, self.identity = sampler.choose_references, sampler.identity

    def prepare(self, inputs: ChunkInputs) -> Float:
        return inputs.crops

    def finish(self, prepared: Float) -> Float:
        return prepared


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


def repeated(video: Path, seconds: Fraction, out: Path) -> Path:
    """The packets of a video again and again until they last so long."""
    done, shift, stream = Fraction(0), 0, None
    with av.open(str(out), "w") as file:
        while done < seconds:
            with av.open(str(video)) as source:
                theirs = source.streams.video[0]
                stream = stream or file.add_stream_from_template(theirs)
                end = 0
                for packet in source.demux(theirs):
                    if packet.dts is not None:
                        end = max(end, packet.pts + packet.duration)
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        file.mux(packet)
                shift += end
                done = shift * theirs.time_base
    return out


def stages(video: Path, out: Path, num_frames: int, codec: str | None) -> dict[str, float]:
    """Stage → processor milliseconds a frame, each stage run alone over frames held in memory, OpenCV in one thread."""
    spent: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        spent[name] = round((time.process_time() - started) / num_frames * 1e3, 2)

    with one_opencv_thread(), VideoReader(video) as reader:
        with stage("decode"):
            frames = list(islice(reader, num_frames))
        num_frames = len(frames)
        with stage("shots"):
            list(ShotDetector().mark(frames))
        with MeshTracker().open() as session, stage("track"):
            for frame in frames:
                session.track(frame)
        with stage("shots, track, follow"):
            faces = [face for _, face in FaceFollower(MeshTracker()).follow(frames)]
        seen = [(f, face) for f, face in zip(frames, faces, strict=True) if face is not None]
        with stage("cut"):
            crops = [extract_crop(frame.picture, face.frame_to_crop, 256) for frame, face in seen]
        for name, mask in (("paste", inpaint_mask(256)), ("paste of tiny", inpaint_mask(256, "mask3"))):
            with stage(name):
                for (frame, face), crop in zip(seen, crops, strict=True):
                    paste_mouth(frame.picture, crop, face.frame_to_crop, mask, original=crop)
        with stage("encode"), VideoWriter(out, reader.info, codec) as writer:
            for frame in frames:
                writer.write(frame)
    width = float(np.median([face.box_xyxy[2] - face.box_xyxy[0] for face in map(_boxed, seen)])) if seen else 0.0
    return spent | {"face_width_px": round(width), "frames": num_frames}


def _boxed(found: tuple[Frame, AlignedFace]) -> Face:
    return Face(found[1].track_id, found[1].landmarks, found[1].score)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--size")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--codec")
    parser.add_argument("--length", choices=("loop", "ping_pong"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--real", action="store_true", help="with the real generator")
    args = parser.parse_args()
    if args.memory:
        for seconds in (10, 300):
            command = [sys.executable, __file__, str(args.video), "--seconds", str(seconds), "--model", args.model]
            command += ["--length", args.length] if args.length else []
            if args.size:
                command += ["--size", args.size]
            if args.codec:
                command += ["--codec", args.codec]
            subprocess.run(command + (["--real"] if args.real else []), check=True)
        return
    if not args.real:
        module.sampler_for = lambda *given: Identity(sampler_for(*given))  # type: ignore[misc, assignment]
    with tempfile.TemporaryDirectory() as folder:
        video = args.video
        if args.size:
            width, height = map(int, args.size.split("x"))
            video = scaled(video, (width, height), Path(folder) / "scaled.mp4")
        if args.stages:
            print(json.dumps(stages(video, Path(folder) / "out.mp4", int(args.seconds * 25), args.codec)))
            return
        wave = Path(folder) / "speech.wav"
        samples = np.random.default_rng(0).normal(0, 0.05, int(args.seconds * 16000)).astype(np.float32)
        write_wav(wave, samples)
        end = Fraction(args.seconds)  # of the video: not longer than the sound
        if args.length is None and (probe(video).video.duration_s or 0) < end:  # type: ignore[union-attr]
            video = repeated(video, end, Path(folder) / "long.mp4")
        lipsync = Lipsync.from_pretrained(args.model)
        started = time.process_time()
        result = lipsync(
            video, wave, Path(folder) / "out.mp4", codec=args.codec, length=args.length or "audio", end_s=end
        )
        cpu_ms = (time.process_time() - started) / result.num_frames * 1e3
    described = result.as_dict()
    per_frame = {k: round(1000 * v / result.num_frames, 2) for k, v in result.seconds_by_stage.items()}
    keys = ("num_frames", "num_edited", "frames_per_s", "peak_memory_gib")
    described = {k: round(described[k], 3) for k in keys} | {"cpu_ms_per_frame": round(cpu_ms, 1)}
    described |= {"ms_per_frame_of_the_main_thread": per_frame}
    print(json.dumps(described | {"generator": "real" if args.real else "identity", "seconds": args.seconds}))


if __name__ == "__main__":
    main()
