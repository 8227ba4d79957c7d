"""Synthetic talking heads, rendered when a clip is first used and kept in the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache as remembered
from typing import Any

import numpy as np

from latentsync import __version__
from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.core.hashing import file_sha256
from latentsync.synth.config import SynthConfig
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.clips import AnyClip, LazyClip
from latentsync.training.datasets.seen import MOST_HIDDEN

TRIES = 8
"""Takes of one clip: a head that turns too far for the tracker, or a mouth behind a hand, is drawn anew."""


def synthetic_clips(config: SynthConfig, split: str, val_identities: int, cache: ArrayCache) -> list[AnyClip]:
    """All clips of a set as `SynthConfig` numbers them; the last `val_identities` people are split "val".

    A clip is rendered, and its face followed and cut by the code of inference, when its arrays are first asked for.

    Raises: ConfigError: nobody is left for the asked split.
    """
    if not 0 <= val_identities < config.identities:
        raise ConfigError("data.synth.val_identities", val_identities, f"choose 0 to {config.identities - 1}")
    border = config.first_identity + config.identities - val_identities
    people = range(config.first_identity, border) if split == "train" else range(border, border + val_identities)
    if split not in ("train", "val"):
        people = range(0)
    key = _settings_key(config)
    clips: list[AnyClip] = []
    for identity in people:
        for clip in range(config.clips_per_identity):
            content = hashlib.sha256(f"{key} {identity} {clip}".encode()).hexdigest()
            maker = _Maker(config, identity, clip, content, cache)
            name = f"synth-{key[:8]}-{identity:05d}"
            path = cache.folder / "synthetic" / f"{name}-{clip:03d}"
            clips.append(LazyClip(path, name, split, True, content, config.num_frames, maker))
    return clips


def _settings_key(config: SynthConfig) -> str:
    settings: dict[str, Any] = asdict(replace(config, identities=1, first_identity=0, clips_per_identity=1))
    settings["face_model"] = file_sha256(config.face_model) if config.face_model else None
    settings["recordings"] = str(config.recordings) if config.recordings else None
    text = json.dumps({**settings, "version": __version__, "hidden": MOST_HIDDEN}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@remembered
def _studio(config: SynthConfig) -> Any:
    from latentsync.synth.studio import Studio

    return Studio(config)


@dataclass(frozen=True)
class _Maker:
    config: SynthConfig
    identity: int
    clip: int
    content: str
    cache: ArrayCache

    def __call__(self, name: str) -> np.ndarray:
        place = self.cache.place(f"synthetic-{name}", self.content)
        if not place.is_file():
            for each, values in _render(self.config, self.identity, self.clip).items():
                self.cache.get(f"synthetic-{each}", (self.content,), lambda values=values: values)  # type: ignore[misc]
        return np.load(place, mmap_mode="r", allow_pickle=False)


def _render(config: SynthConfig, identity: int, clip: int) -> dict[str, np.ndarray]:
    """The first take of the clip in which every frame has a usable face with the mouth in sight."""
    for take in range(TRIES):
        made = _studio(config).clip(identity, clip + 1000 * take)
        if made.truth.mouth_covered.max(initial=0) > MOST_HIDDEN:
            continue
        found = follow_face(np.stack(list(made.frames)))
        if found is not None:
            return {"crops": found[0], "mesh": found[1], "wave": np.asarray(made.audio, np.float32)}
    raise LatentSyncError(
        f"synthetic person {identity}, clip {clip}: no usable face in {TRIES} takes. Lower data.synth.max_turn_deg "
        "or data.synth.hand_share"
    )


def follow_face(frames: np.ndarray, resolution: int = 256) -> tuple[np.ndarray, np.ndarray] | None:
    """Aligned crops (F, R, R, 3) uint8 and mesh (F, 468, 2) float32 of frames (F, H, W, 3) at 25 fps; None without a
    usable face in each frame."""
    from fractions import Fraction

    from latentsync.core.values import Frame
    from latentsync.faces import FaceFollower, MeshTracker, extract_crop
    from latentsync.faces.alignment import transform
    from latentsync.media.pixels import RgbPicture, to_bytes

    follower = FaceFollower(MeshTracker(), "largest", resolution)
    crops, meshes = [], []
    pictures = (Frame(i, Fraction(i, 25), RgbPicture(frame)) for i, frame in enumerate(frames))
    for frame, face in follower.follow(pictures):
        if face is None:
            return None
        crops.append(to_bytes(extract_crop(frame.picture, face.frame_to_crop, resolution)))
        meshes.append(transform(face.frame_to_crop, face.landmarks))
    return np.stack(crops), np.stack(meshes).astype(np.float32)


def synth_config(values: dict[str, Any]) -> SynthConfig:
    """From the `synth:` mapping of a source. Raises ConfigError: an unknown key or a value out of range."""
    return checked(SynthConfig, values, "data.synth")
