"""Write a kept clip: crops, exact sound, geometry, what is known of it, and the arrays that training reads."""

from __future__ import annotations

import os
import shutil
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Frame
from latentsync.data.clip import GRID_FPS, Clip, Rejected, dumps
from latentsync.data.grid import grid_frames
from latentsync.data.settings import FaceSettings, WriteSettings
from latentsync.data.sound import sound_span
from latentsync.data.stages.base import PlainStage
from latentsync.data.stages.faces import crop_writer, load_geometry
from latentsync.faces import extract_crop
from latentsync.faces.alignment import transform
from latentsync.media.audio import write_wav
from latentsync.media.pixels import RgbPicture, to_bytes
from latentsync.media.reader import VideoReader

VIDEO, SOUND, GEOMETRY, ABOUT = "video.mp4", "audio.wav", "face.npz", "clip.json"
TRAINING_ARRAYS = ("crops.npy", "mesh.npy", "wave.npy")


class Write(PlainStage):
    """A folder `clips/<id>`: video.mp4 (aligned crops), audio.wav (16 kHz mono, begins with the first frame), face.npz,
    clip.json; with `training` also crops.npy, mesh.npy and wave.npy; with `mel` mel.npy.

    The folder is made beside its place and renamed: it exists whole or not at all.
    """

    name = "write"
    version = 2

    def __init__(self, settings: WriteSettings, faces: FaceSettings) -> None:
        super().__init__(settings)
        self._faces = faces

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "resolution": self._faces.resolution, "crf": self._faces.crf}

    def beside(self, clip: Clip) -> str:
        return truth_of(Path(clip.source.path))

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        first = int(clip.facts.get("frames_left_out", 0) or 0)
        geometry = load_geometry(self.workspace.path(clip.files["geometry"]))
        total = len(geometry["score"])
        geometry = {name: values[first : first + clip.num_frames] for name, values in geometry.items()}
        hidden = mouth_covered(Path(clip.source.path), geometry["source_time_s"])
        if hidden is not None:
            geometry["mouth_covered"] = hidden
        num_samples = round(clip.num_frames * SPEECH_RATE_HZ / GRID_FPS)
        wave, _ = sound_span(clip, clip.start_s + clip.sound_shift_s, num_samples)
        part = self.workspace.scratch("")
        part.mkdir()
        if clip.num_frames == total:
            _link(self.workspace.path(clip.files["crops"]), part / VIDEO)
        else:
            self._cut_again(clip, geometry["frame_to_crop"], part / VIDEO)
        write_wav(part / SOUND, wave)
        with (part / GEOMETRY).open("wb") as file:
            np.savez(file, **geometry)  # type: ignore[arg-type]
        if self.config.training:
            self._arrays(part, geometry, wave)
        if self.config.mel:
            from latentsync.audio.mel import whisper_log_mel

            np.save(part / "mel.npy", whisper_log_mel(wave).numpy())
        given = about(clip) if hidden is None else {**about(clip), "mouth_covered": float(hidden.max())}
        (part / ABOUT).write_text(dumps(given) + "\n", encoding="utf-8")
        place = self.workspace.clips / clip.clip_id
        if place.exists():  # of an earlier setting
            place.replace(self.workspace.scratch(".old"))
        part.replace(place)
        names = sorted(entry.name for entry in place.iterdir())
        files = {name: self.workspace.relative(place / name) for name in names}
        return [Clip(clip.source, clip.start_s, clip.num_frames, clip.clip_id, clip.sound_shift_s, clip.facts,
                     clip.scores, files)]  # fmt: skip

    def _cut_again(self, clip: Clip, matrices: np.ndarray, path: Path) -> None:
        """Crops of fewer frames, from the source anew, so that they are encoded once only."""
        with crop_writer(path, self._faces.resolution, self._faces.crf) as writer:
            for frame, _ in grid_frames(Path(clip.source.path), clip.start_s, clip.num_frames):
                crop = to_bytes(extract_crop(frame.picture, matrices[frame.index], self._faces.resolution))
                writer.write(Frame(frame.index, Fraction(frame.index, GRID_FPS), RgbPicture(crop)))

    def _arrays(self, part: Path, geometry: dict[str, np.ndarray], wave: np.ndarray) -> None:
        with VideoReader(part / VIDEO) as reader:
            crops = np.stack([frame.picture.rgb() for frame in reader])
        pairs = zip(geometry["frame_to_crop"], geometry["landmarks"], strict=True)
        mesh = np.stack([transform(matrix, landmarks) for matrix, landmarks in pairs]).astype(np.float32)
        arrays: tuple[np.ndarray, ...] = (crops, mesh, wave.astype(np.float32))
        for name, values in zip(TRAINING_ARRAYS, arrays, strict=True):
            np.save(part / name, values)


def about(clip: Clip) -> dict[str, Any]:
    """What clip.json says. Nothing in it depends on where the source lies or on limits that it passed."""
    return {
        "id": clip.clip_id,
        "source_sha256": clip.source.sha256,
        "start_s": str(clip.start_s),
        "num_frames": clip.num_frames,
        "fps": GRID_FPS,
        "sound_shift_s": str(clip.sound_shift_s),
        "scores": dict(clip.scores),
        "facts": dict(clip.facts),
    }


def mouth_covered(source: Path, times_s: np.ndarray) -> np.ndarray | None:
    """Share of the mouth that is hidden in each frame, from the truth that `latentsync synth` writes beside its videos.

    Args: times_s: (F,) times of the frames in the source.
    Returns: (F,) float32, 1 (hidden) for frames that the truth does not reach; None = there is no such truth.
    """
    truth = source.with_suffix(".npz")
    if not truth.is_file() or not truth.with_suffix(".json").is_file():
        return None
    try:
        with np.load(truth, allow_pickle=False) as arrays:
            shares = np.asarray(arrays["mouth_covered"], np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # another file of that name, or the truth of an older version
    at = np.rint(times_s * GRID_FPS).astype(int)
    inside = (at >= 0) & (at < len(shares))
    if not inside.any():
        return None
    return np.where(inside, shares[at.clip(0, len(shares) - 1)], np.float32(1))


def truth_of(source: Path) -> str:
    """SHA-256 of the truth that lies beside a video, "" where there is none: the clip is written anew with another."""
    truth = source.with_suffix(".npz")
    if not truth.is_file() or not truth.with_suffix(".json").is_file():
        return ""
    return file_sha256(truth)[:16]


def _link(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system allows, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
