"""Raw videos for the pipeline: drawn talkers, good and bad, and what is expected of each."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from talkers import INFO, SIDE, MouthTracker, babble, write_talker
from talkers import sound_of as tone_of

from latentsync.core.errors import LatentSyncError
from latentsync.core.values import Frame
from latentsync.data.api import BuildOptions, BuildResult, build
from latentsync.data.clip import Clip, Rejected
from latentsync.data.settings import DataSettings, data_settings
from latentsync.data.stages.base import PlainStage
from latentsync.media.audio import write_wav
from latentsync.media.pixels import RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter

SETTINGS = data_settings(
    {
        "segments": {"min_s": 1.5, "max_s": 3},
        "shots.finder": "builtin",
        "sync.judge": "lips",
        "faces.resolution": 128,
        "face_limits": {"min_face_px": 20, "max_yaw_deg": 80, "max_outside_share": 1},
        "quality_limits": {"min_quality": 0, "min_sharpness": 0},
        "split": {"val": 0.3, "test": 0},
    }
)


def talking(path: Path, person: int, seed: int, late_frames: int = 0, steps: int = 60) -> Path:
    """A video of `steps` frames whose sound is `late_frames` late."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opening = babble(seed, steps)
    return write_talker(path, opening, person, late(sound_of(opening), late_frames))


def late(wave: np.ndarray, frames: int) -> np.ndarray:
    """The same length, moved; silence comes in."""
    moved = np.zeros_like(wave)
    samples = frames * 640
    if samples >= 0:
        moved[samples:] = wave[: len(wave) - samples]
    else:
        moved[:samples] = wave[-samples:]
    return moved


def sound_of(opening: np.ndarray) -> np.ndarray:
    """Sound as loud as the mouth is open, in the band where the lip judge listens (the talkers' own is at 200 Hz)."""
    loudness = np.abs(tone_of(opening)).reshape(len(opening), -1).max(axis=1)
    return np.repeat(loudness, 640).astype(np.float32) * np.sin(np.arange(len(opening) * 640) * np.pi / 4).astype("f4")


def options(**changes: Any) -> BuildOptions:
    return replace(BuildOptions(engine="serial", workers=1, tracker=MouthTracker), **changes)


def run(raw: Path, out: Path, settings: DataSettings = SETTINGS, **changes: Any) -> BuildResult:
    return build(raw, out, settings, options(**changes))


def contents(out: Path) -> dict[str, str]:
    """SHA-256 of every file of a build that is part of its result: the clips and the manifest."""
    files = [path for path in (out / "clips").rglob("*") if path.is_file()] + [out / "manifest.parquet"]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def empty_room(path: Path) -> Path:
    """Sound, and a grey wall."""
    wave = sound_of(babble(5))
    write_wav(path.with_suffix(".wav"), wave)
    with VideoWriter(path, like=INFO, audio=AudioPlan(path.with_suffix(".wav"), mode="encode")) as writer:
        for index in range(60):
            writer.write(Frame(index, Fraction(index, 25), RgbPicture(np.full((SIDE, SIDE, 3), 60, np.uint8))))
    path.with_suffix(".wav").unlink()
    return path


def sound_file(path: Path) -> Path:
    write_wav(path, sound_of(babble(3)))
    return path


class Fragile(PlainStage):
    """A stage that ends its process for one clip, always or once, fills the disk at another, and takes a third away."""

    name = "fragile"

    def __init__(
        self,
        deadly: str = "",
        marker: str = "",
        full: str = "",
        buggy: str = "",
        wrong: str = "",
        leaves: str = "",
        away: str = "",
    ) -> None:
        super().__init__()
        self.deadly, self.marker, self.full, self.buggy, self.wrong = deadly, marker, full, buggy, wrong
        self.leaves, self.away = leaves, away

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        import errno
        import os

        name = clip.source.name
        if self.deadly and name == self.deadly and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os._exit(9)
        if name == self.leaves:
            Path(clip.source.path).rename(self.away)
            with VideoReader(Path(clip.source.path)) as reader:
                next(iter(reader))
        if name == self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if name == self.buggy:
            raise KeyError("a bug of ours")
        if name == self.wrong:
            raise LatentSyncError("this clip cannot be used. Leave it out.")
        return [clip]
