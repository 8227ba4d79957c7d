"""Render the sample that ships with the package: a talking head and a speech recording by another voice.

    python recipes/sample/make_sample.py --face-model ict_facekit_light.npz --out src/latentsync/assets/sample

Needs the `synth` extra, the program flite (Debian: `apt install flite`), and the packed face model
(docs/synth.md). Takes a few minutes on one core,
and gives the same files on every run on one machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Bytes
from latentsync.synth.config import SynthConfig
from latentsync.synth.dataset import write_mp4, write_wav
from latentsync.synth.render.canvas import Light
from latentsync.synth.render.exposure import Exposure
from latentsync.synth.speech.engines import Utterance, flite
from latentsync.synth.speech.speaker import Speech
from latentsync.synth.stage import Faults, Framing, Sensor
from latentsync.synth.studio import Studio, Take

SIZE = 640
SEED, PERSON = 11, 17
VIDEO_TEXT = "Good morning. My brother bought five brown puppies from a farmer near the old bridge."
SPEECH_TEXT = "Welcome back, everybody. Maybe we should move the big piano before the evening show."


def speech(said: Utterance, seconds: float) -> Speech:
    """The utterance after 0.3 s of near silence, cut or filled up to `seconds`."""
    num, lead = round(seconds * SPEECH_RATE_HZ), int(0.3 * SPEECH_RATE_HZ)
    audio = np.random.default_rng(0).normal(0, 3e-4, num).astype(np.float32)
    spoken = said.audio[: num - lead] * (0.6 / np.abs(said.audio).max())
    audio[lead : lead + len(spoken)] += spoken
    phones = tuple(p.moved(0.3) for p in said.phones if p.start_s + 0.3 < seconds)
    return Speech(audio.astype(np.float32), phones, said.voice, said.text)


def studio_light() -> Light:
    """A soft warm key from the left, a cool fill, a weak rim."""
    directions = np.array([[-0.55, 0.5, 0.75], [0.7, 0.1, 0.7], [0.7, 0.4, -0.6]], np.float32)
    return Light(
        directions=directions / np.linalg.norm(directions, axis=1, keepdims=True),
        colours=np.array([[1.65, 1.57, 1.45], [0.48, 0.50, 0.56], [0.6, 0.62, 0.66]], np.float32),
        sky=np.array([0.50, 0.50, 0.52], np.float32),
        ground=np.array([0.30, 0.28, 0.26], np.float32),
        tint=np.ones(3, np.float32),
        exposure=0.78,
        gloss=0.8,
    )


def halve(pictures: Iterator[Bytes], faults: Faults) -> Iterator[Bytes]:
    """Twice the size is rendered and averaged down, then the camera's noise is added."""
    sensor = Sensor(faults, SIZE, np.random.default_rng(1))
    for picture in pictures:
        yield sensor.expose(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--face-model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    said, other = flite(VIDEO_TEXT, "slt", 1.05), flite(SPEECH_TEXT, "rms", 1.0)
    seconds = int((len(said.audio) / SPEECH_RATE_HZ + 0.6) * 25) / 25
    config = SynthConfig(seconds=seconds, size=2 * SIZE, seed=SEED, face_model=args.face_model, max_turn_deg=14)
    studio, spoken = Studio(config), speech(said, seconds)
    take = Take.sample(
        config, studio.head(PERSON), spoken, np.random.default_rng([SEED, 2]), np.random.default_rng([SEED, 3])
    )
    take.drift_cm[:] = 0
    take = replace(
        take,
        light=studio_light(),
        background=_background(2 * SIZE),
        faults=Faults(blur_px=0, noise=0, grain_px=0, crf=18, exposure=Exposure()),
        framing=Framing(fov_deg=22, distance_cm=84, target_cm=(0.0, -1.4), side_rad=0.05, height_rad=0.02),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    pictures = halve(
        take.frames(studio.canvas), Faults(blur_px=0.4, noise=1.6, grain_px=0.7, crf=20, exposure=Exposure())
    )
    write_mp4(args.out / "talk.mp4", pictures, spoken.audio, SIZE, 20, preset="slow", audio_kbps=64)
    write_wav(args.out / "speech.wav", speech(other, int((len(other.audio) / SPEECH_RATE_HZ + 0.6) * 25) / 25).audio)


def _background(size: int) -> np.ndarray:
    """A dim room out of focus."""
    rng = np.random.default_rng(5)
    y, x = (np.mgrid[0:size, 0:size] / size).astype(np.float32)
    picture = np.stack([0.36 + 0.10 * x - 0.12 * y, 0.38 + 0.08 * x - 0.12 * y, 0.42 + 0.04 * x - 0.12 * y], -1)
    for _ in range(9):
        u, v, w, h = (rng.uniform([0, 0, 0.08, 0.15], [1, 0.8, 0.3, 0.5]) * size).astype(int).tolist()
        tone = rng.uniform(0.15, 0.6) * np.array([1, 0.97, 0.92])
        cv2.rectangle(picture, (u, v), (u + w, v + h), tone.tolist(), -1)
    return (cv2.GaussianBlur(picture, (0, 0), size * 0.025) * 255).astype(np.float32)


if __name__ == "__main__":
    main()
