"""Synthetic talkers for evaluation tests: a drawn face whose mouth opens as loud as it speaks and spreads as loud as a
second tone in it, and a tracker that measures the drawn mouth from the pixels."""

from __future__ import annotations

from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.core.values import Face, Frame
from latentsync.faces import topology as mesh
from latentsync.faces.points import BROW_VERTICES, NOSE_VERTICES
from latentsync.media.audio import read_audio, write_wav
from latentsync.media.information import VideoInfo
from latentsync.media.pixels import RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from latentsync.metrics.lips import smooth

SAMPLES_PER_STEP = 16000 // 25
SIDE = 128
EYES_PX = 48
MOUTH_Y = 86
REST_PX = 20
"""Width of a mouth that is not spread."""
OPENING_HZ, SPREAD_HZ = 200, 1000
"""Tones that carry the two, with whole periods in a step."""
INFO = VideoInfo(width=SIDE, height=SIDE, fps=Fraction(25))


def babble(seed: int, steps: int = 60) -> np.ndarray:
    """(steps,) opening in eye distances, with a pause of ten frames in the middle."""
    rng = np.random.default_rng(seed)
    curve = np.clip(smooth(rng.uniform(-0.3, 0.75, steps), 1.0), 0, 0.4)
    curve[steps // 2 - 5 : steps // 2 + 5] = 0
    return curve


def sound_of(opening: np.ndarray, spread: np.ndarray | None = None) -> np.ndarray:
    """Sound whose level in each 1/25 s is the opening, and that of its second tone the spread: (S,) float32."""
    phase = np.arange(len(opening) * SAMPLES_PER_STEP) * 2 * np.pi / 16000
    wave = np.repeat(opening, SAMPLES_PER_STEP) * np.sin(phase * OPENING_HZ)
    if spread is not None:
        wave += np.repeat(spread, SAMPLES_PER_STEP) * np.sin(phase * SPREAD_HZ)
    return wave.astype(np.float32)


def opening_of(wave: np.ndarray) -> np.ndarray:
    """The opening that `sound_of` was made from."""
    return _level(wave, OPENING_HZ)


def spread_of(wave: np.ndarray) -> np.ndarray:
    """The spread that `sound_of` was made from."""
    return _level(wave, SPREAD_HZ)


def _level(wave: np.ndarray, tone_hz: int) -> np.ndarray:
    steps = wave[: len(wave) // SAMPLES_PER_STEP * SAMPLES_PER_STEP].reshape(-1, SAMPLES_PER_STEP)
    tone = np.exp(2j * np.pi * tone_hz / 16000 * np.arange(SAMPLES_PER_STEP))
    return 2 / SAMPLES_PER_STEP * np.abs(steps @ tone)


def portrait(opening: float, person: int, spread: float = 0.0) -> np.ndarray:
    """(128, 128, 3) uint8: textured skin of this person's tone, dark eyes, a black mouth of the given opening.

    Lines three pixels high at its corners make it wider than `REST_PX` by `spread`, in eye distances too.
    """
    rng = np.random.default_rng(person)
    y, x = np.mgrid[:SIDE, :SIDE]
    skin = 150 + 8 * (person % 5) + 0.2 * x + rng.normal(0, 4, (SIDE, SIDE))
    for eye in (-EYES_PX / 2, EYES_PX / 2):
        skin[np.hypot(x - 64 - eye, y - 48) < 5] = 60
    if opening > 0:
        half = opening * EYES_PX / 2
        skin[((x - 64) / 10) ** 2 + ((y - MOUTH_Y) / max(half, 0.1)) ** 2 < 1] = 20
    outside = np.abs(x - 64) - REST_PX / 2
    line = np.where((outside >= 0) & (abs(y - MOUTH_Y) <= 1), np.clip(spread * EYES_PX / 2 - outside, 0, 1), 0)
    skin += line * (20 - skin)
    return np.clip(skin[..., None] * np.array([1.0, 0.85, 0.75]), 0, 255).astype(np.uint8)


def write_talker(
    path: Path, opening: np.ndarray, person: int, wave: np.ndarray | None = None, spread: np.ndarray | None = None
) -> Path:
    """A video of the person with this opening and spread at 25 fps, and its sound."""
    sound = path.with_suffix(".wav")
    write_wav(sound, sound_of(opening, spread) if wave is None else wave)
    wide = np.zeros(len(opening)) if spread is None else spread
    with VideoWriter(path, like=INFO, audio=AudioPlan(sound, mode="encode")) as writer:
        for index, (open_by, wide_by) in enumerate(zip(opening, wide, strict=True)):
            picture = RgbPicture(portrait(float(open_by), person, float(wide_by)))
            writer.write(Frame(index, Fraction(index, 25), picture))
    sound.unlink()
    return path


class MouthTracker:
    """Finds the drawn face (never moves) and measures the dark mouth's height and width, to a fraction of a pixel."""

    def open(self) -> _Session:
        return _Session()


class _Session(AbstractContextManager["_Session"]):
    def __exit__(self, *_: object) -> None:
        return None

    def cut(self) -> None:
        return None

    def track(self, frame: Frame) -> tuple[Face, ...]:
        column = frame.picture.region((62, 60, 67, 112)).mean(axis=(1, 2))
        if column[:8].mean() < 0.3:  # no skin under the nose: nobody there
            return ()
        skin = float(np.median(column[:8]))
        height = float(np.clip((skin - 0.1 - column) / (skin - 0.17), 0, 1).sum())
        row = frame.picture.region((34, MOUTH_Y - 1, 95, MOUTH_Y + 2)).mean(axis=(0, 2))
        beside = np.r_[row[: 30 - REST_PX // 2], row[31 + REST_PX // 2 :]]
        width = REST_PX + float(np.clip((skin - 0.1 - beside) / (skin - 0.17), 0, 1).sum())
        return (Face(0, _mesh(height, width), 0.9),)


def _mesh(mouth_px: float, width_px: float) -> np.ndarray:
    points = np.random.default_rng(0).uniform((30, 30), (98, 110), (468, 2))
    for pairs in BROW_VERTICES:
        for vertex, x in zip(pairs, (44, 84), strict=True):
            points[vertex] = (x, 45)
    for group in NOSE_VERTICES:
        points[list(group)] = (64, 62)
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (64 - EYES_PX / 2, 48), (64 + EYES_PX / 2, 48)
    points[234], points[454] = (28, 55), (100, 55)  # cheeks: the face looks straight ahead
    points[list(mesh.LIPS)] = (64, MOUTH_Y)
    points[list(mesh.INNER_LIP_CORNERS), 0] = (64 - width_px / 2, 64 + width_px / 2)
    for upper, lower in mesh.INNER_LIP_PAIRS:
        points[upper], points[lower] = (64, MOUTH_Y - mouth_px / 2), (64, MOUTH_Y + mouth_px / 2)
    return points.astype(np.float32)


def perfect_driver(video: Path, speech: Path, out: Path) -> None:
    """Draws the same person again with the mouth of the speech."""
    wave = read_audio(speech)
    with VideoReader(video) as reader:
        skin = next(iter(reader)).picture.region((40, 20, 60, 30)).mean()
    person = min(range(5), key=lambda p: abs(portrait(0, p)[20:30, 40:60].mean() / 255 - skin))
    write_talker(out, opening_of(wave), person, wave, spread_of(wave))


def deaf_driver(video: Path, speech: Path, out: Path) -> None:
    """Leaves the picture as it is."""
    with (
        VideoReader(video) as reader,
        VideoWriter(out, like=reader.info, audio=AudioPlan(speech, mode="encode"), codec="h264") as writer,
    ):
        for frame in reader:
            writer.write(frame)
