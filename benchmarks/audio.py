"""Seconds of work per minute of speech for each part of the hearing (random weights); voice activity on own clips.

python benchmarks/audio.py [--minutes 2] [--threads N] [--bf16]
python benchmarks/audio.py --clips manifest.csv    # columns `file` (beside the manifest) and `speech_s`
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from latentsync.audio import syncnet_mel, whisper_log_mel
from latentsync.audio.activity import speech_activity
from latentsync.audio.streaming import StreamingAudioEncoder, measure, sound_of
from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig


def speech_like(minutes: float) -> np.ndarray:
    t = np.arange(int(16000 * 60 * minutes), dtype=np.float32) / 16000
    level = 0.05 * (1 + np.sin(2 * np.pi * 4 * t)) * (np.sin(2 * np.pi * 0.3 * t) > -0.5)
    return (level * np.random.default_rng(0).standard_normal(len(t), dtype=np.float32)).astype(np.float32)


def take_times(minutes: float, bf16: bool) -> None:
    wave = speech_like(minutes)
    sound = sound_of(wave)
    frames = [Fraction(index, 25) for index in range(int(minutes * 60 * 25))]
    dtype = torch.bfloat16 if bf16 else torch.float32
    tiny = AudioEncoder(AudioEncoderConfig()).eval().to(dtype)
    small = (
        AudioEncoder(AudioEncoderConfig(width=192, num_heads=3, feed_forward=768, positions=250, states=(4,)))
        .eval()
        .to(dtype)
    )
    maximum = measure(sound).maximum

    def stream(
        audio_encoder: AudioEncoder, compatible: bool = False, hop_s: Fraction | None = None
    ) -> Callable[[], None]:
        streaming = StreamingAudioEncoder(audio_encoder, hop_s, compatible)

        def listen() -> None:
            for _ in streaming.windows(sound, frames, maximum):
                pass

        return listen

    works: dict[str, Callable[[], object]] = {
        "whisper_log_mel": lambda: whisper_log_mel(wave),
        "syncnet_mel": lambda: syncnet_mel(wave),
        "first pass (length and maximum)": lambda: measure(sound),
        "voice activity": lambda: speech_activity([wave]),
        "Whisper tiny, windows end to end": stream(tiny, compatible=True),
        "Whisper tiny, hop 15 s": stream(tiny),
        "small audio encoder (192 wide, 5 s), hop 2.5 s": stream(small),
    }
    for name, work in works.items():
        start, cpu = time.perf_counter(), time.process_time()
        work()
        wall_s, cpu_s = (time.perf_counter() - start) / minutes, (time.process_time() - cpu) / minutes
        print(f"{name:45} {wall_s:7.3f} s wall  {cpu_s:7.3f} s cpu  per minute of speech")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def try_activity(manifest_path: Path) -> None:
    from latentsync.media.audio import read_audio

    errors, said_s = [], 0.0
    with manifest_path.open() as file:
        for row in csv.DictReader(file):
            found = speech_activity([read_audio(manifest_path.parent / row["file"])]).speech_s
            errors.append(found - float(row["speech_s"]))
            said_s += float(row["speech_s"])
            print(f"{row['file'][-60:]:60} said {float(row['speech_s']):6.2f} s  found {found:6.2f} s")
    away = np.abs(errors)
    print(
        f"{len(errors)} clips, {said_s:.0f} s said: {sum(errors) / said_s:+.1%} found, {away.mean():.2f} s off a clip"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--clips", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.clips:
        try_activity(options.clips)
    else:
        take_times(options.minutes, options.bf16)
