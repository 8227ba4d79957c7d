"""Clips of WebDataset tar shards (`latentsync data shard`), in a folder or behind a URL, read at random."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.core.files import atomic_path
from latentsync.data.shards import INDEX
from latentsync.faces.alignment import transform
from latentsync.media import VideoReader, read_audio
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.clips import FPS, AnyClip, LazyClip

Span = tuple[int, int]
"""Offset and size of a member in its tar file, bytes."""


def is_shards(location: str) -> bool:
    """Is this a folder of shards, or a URL?"""
    return "://" in location or (Path(location) / INDEX).is_file()


def shard_clips(location: str, split: str, cache: ArrayCache) -> list[AnyClip]:
    """Clips of one split, in the order of the shards. A shard behind a URL is copied to the cache when first needed.

    Pictures are decoded when a clip is first used and kept in the cache under the hash of its video.

    Raises: LatentSyncError: no index, no shard of that split, a shard of another size, or clips at another rate.
    """
    lines = [line for line in _index(location)["shards"] if line["split"] == split]
    if not lines:
        raise LatentSyncError(f"{location}: no shard of split {split!r}. Build with more people, or deal them anew")
    clips: list[AnyClip] = []
    for line in lines:
        path = _local(location, line, cache)
        for members in _members(path).values():
            clips.append(_clip(path, members, cache))
    return clips


def _index(location: str) -> dict[str, Any]:
    try:
        return json.loads(_read(location, INDEX))
    except (OSError, ValueError) as error:
        raise LatentSyncError(f"{location}: no readable {INDEX} ({error}). Run `latentsync data shard`") from error


def _read(location: str, name: str) -> bytes:
    if "://" not in location:
        return (Path(location) / name).read_bytes()
    try:
        import fsspec
    except ImportError as error:
        raise ConfigError("data", location, 'URLs need: pip install "latentsync[data]"') from error
    with fsspec.open(f"{location.rstrip('/')}/{name}", "rb") as file:
        return file.read()


def _local(location: str, line: Mapping[str, Any], cache: ArrayCache) -> Path:
    """The shard as a local file of the size that the index says."""
    if "://" not in location:
        path = Path(location) / line["shard"]
        size = path.stat().st_size if path.is_file() else 0
    else:
        path = cache.folder / "shards" / f"{line['sha256']}.tar"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            data = _read(location, line["shard"])
            if hashlib.sha256(data).hexdigest() != line["sha256"]:
                raise LatentSyncError(f"{location}/{line['shard']}: damaged on its way or at its place. Try again")
            with atomic_path(path) as part:
                part.write_bytes(data)
        size = path.stat().st_size
    if size != line["bytes"]:
        raise LatentSyncError(f"{path}: {size} bytes, {line['bytes']} expected. Run `latentsync data shard` again")
    return path


def _members(path: Path) -> dict[str, dict[str, Span]]:
    """Clip id → ending → where its bytes are. Only the headers are read."""
    found: dict[str, dict[str, Span]] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            key, _, ending = entry.name.partition(".")
            found.setdefault(key, {})[ending] = (entry.offset_data, entry.size)
    return found


def _clip(path: Path, members: Mapping[str, Span], cache: ArrayCache) -> LazyClip:
    about = json.loads(_bytes(path, members["json"]))
    if about.get("fps", FPS) != FPS:
        raise LatentSyncError(f"{path}: holds clips at {about['fps']} frames a second. Build it again at {FPS}")
    source = _Source(path, dict(members), cache)
    shift, sizes = about.get("sound_shift_s", "0"), (members["mp4"][1], members["npz"][1])
    content = hashlib.sha256(
        f"{about['id']} {about['source_sha256']} {about['num_frames']} {shift} {sizes}".encode()
    ).hexdigest()
    return LazyClip(
        path=path / str(about["id"]),
        person=str(about["person"]),
        split=str(about["split"]),
        in_sync=bool(about.get("in_sync", True)),
        content=content,
        num_frames=int(about["num_frames"]),
        make=source,
        mouth_covered=source.mouth_covered if about.get("mouth_covered", 0) > 0 else None,
    )


def _bytes(path: Path, span: Span) -> bytes:
    with path.open("rb") as file:
        file.seek(span[0])
        return file.read(span[1])


@dataclass(frozen=True)
class _Source:
    """Makes the arrays of one clip."""

    path: Path
    members: Mapping[str, Span]
    cache: ArrayCache

    def __call__(self, name: str) -> np.ndarray:
        if name == "crops":
            data = _bytes(self.path, self.members["mp4"])
            return self.cache.get("crops", (hashlib.sha256(data).hexdigest(),), lambda: _as_file(data, "mp4", _frames))
        if name == "wave":
            data = _bytes(self.path, self.members["wav"])
            return _as_file(data, "wav", lambda path: read_audio(path).astype(np.float32))
        pairs = zip(self._geometry("frame_to_crop"), self._geometry("landmarks"), strict=True)
        return np.stack([transform(matrix, points) for matrix, points in pairs]).astype(np.float32)

    def mouth_covered(self) -> np.ndarray:
        """(F,) share of the mouth that is hidden."""
        return self._geometry("mouth_covered")

    def _geometry(self, name: str) -> np.ndarray:
        with np.load(io.BytesIO(_bytes(self.path, self.members["npz"])), allow_pickle=False) as geometry:
            return geometry[name]


def _frames(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame.picture.rgb() for frame in reader])


def _as_file(data: bytes, ending: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """Readers of media want files."""
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        path = Path(folder) / f"member.{ending}"
        path.write_bytes(data)
        return read(path)
