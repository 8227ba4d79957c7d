"""Kept clips as WebDataset tar shards on any place that fsspec reaches, and several builds as one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from latentsync.core.errors import ConfigError, LatentSyncError, MediaError
from latentsync.core.files import atomic_path
from latentsync.core.progress import Progress, ProgressCallback, silent
from latentsync.core.reading import read_json
from latentsync.data.clip import dumps
from latentsync.data.manifest import MANIFEST, read_manifest, write_manifest
from latentsync.data.settings import SplitSettings
from latentsync.data.split import split_identities
from latentsync.data.workspace import CLIPS, Workspace, claimed

MEMBERS = {"video.mp4": "mp4", "audio.wav": "wav", "face.npz": "npz", "mel.npy": "mel.npy"}
"""File of a clip → its ending in a shard. All that belongs to a clip shares the id as its key."""
INDEX = "index.json"


def write_shards(
    folder: Path, target: str, clips_per_shard: int = 256, progress: ProgressCallback = silent
) -> list[dict[str, Any]]:
    """Pack a build's kept clips into `train-000000.tar`, `val-…`, `test-…` at a folder or URL, the index last.

    Clips are dealt in the order of their ids, which are hashes, so every shard is a fair mix; the same clips give the
    same bytes.

    Returns: a line for each shard: name, split, clips, bytes, sha256.
    Raises: MediaError: there is no build, or nothing in it was kept. ConfigError: fsspec is missing.
    """
    if clips_per_shard < 1:
        raise ConfigError("clips_per_shard", clips_per_shard, "choose 1 or more")
    rows = [row for row in read_manifest(folder)[0] if row["kept"]]
    if not rows:
        raise MediaError(f"{folder}: no clip was kept. See `latentsync data report {folder}`.")
    lines, done = [], 0
    for split in ("train", "val", "test"):
        own = sorted((row for row in rows if row["split"] == split), key=lambda row: row["clip_id"])
        for number, start in enumerate(range(0, len(own), clips_per_shard)):
            part = own[start : start + clips_per_shard]
            name = f"{split}-{number:06d}.tar"
            with _writing(target, name) as file:
                hashed = _Hashed(file)
                _pack(folder, part, hashed)
            given = {"shard": name, "split": split, "clips": len(part), "bytes": hashed.size, "sha256": hashed.hex()}
            lines.append(given)
            done += len(part)
            progress(Progress("shards", done, len(rows), "clips"))
    with _writing(target, INDEX) as file:
        file.write((json.dumps({"shards": lines}, indent=1) + "\n").encode())
    return lines


def _pack(folder: Path, rows: Sequence[Mapping[str, Any]], file: _Hashed) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for row in rows:
            clip = folder / CLIPS / row["clip_id"]
            for name, ending in MEMBERS.items():
                if (clip / name).is_file() and not (clip / name).is_symlink() and not clip.is_symlink():
                    _add(tar, f"{row['clip_id']}.{ending}", (clip / name).read_bytes())
            about = _about(clip / "clip.json")
            about |= {"person": row["identity"], "split": row["split"], "source": row["source"],
                      "in_sync": row["in_sync"]}  # fmt: skip
            _add(tar, f"{row['clip_id']}.json", dumps(about).encode())


def _about(path: Path) -> dict[str, Any]:
    """What a build says of a clip. Raises: MediaError: it is missing or damaged."""
    try:
        about = read_json(path)
        if isinstance(about, dict) and not path.is_symlink() and not path.parent.is_symlink():
            return about
        reason = "no JSON object"
    except (MediaError, ValueError) as error:
        reason = str(error)
    raise MediaError(f"{path}: is damaged ({reason}). Run `latentsync data build` again.")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no times, no owners: the same clips give the same bytes
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


class _Hashed:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def hex(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def _writing(target: str, name: str) -> Iterator[IO[bytes]]:
    """A file below a folder (whole or not at all) or a URL (as its store has it: most show it when it is complete)."""
    if "://" not in target:
        folder = Path(target)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / name) as part, part.open("wb") as file:
            yield file
        return
    try:
        import fsspec
    except ImportError as error:
        raise ConfigError("target", target, 'URLs need: pip install "latentsync[data]"') from error
    try:
        store, root = fsspec.core.url_to_fs(target)
        store.makedirs(root, exist_ok=True)
        with store.open(f"{root.rstrip('/')}/{name}", "wb") as file:
            yield file
    except (ImportError, ValueError) as error:
        raise MediaError(f"{target}: cannot be written to ({error}). Check the URL.") from error


def merge_builds(out: Path, folders: Sequence[Path], split: SplitSettings | None = None) -> list[dict[str, Any]]:
    """Put several builds into one new folder: their clips (linked where the file system can) and lines.

    A clip that several builds kept is taken from the first. Identities of the same name are the same person, and all
    are dealt anew by `split`, or keep their part where None; then one person in two parts is an error.

    Raises: MediaError: one is no build. LatentSyncError: `out` is in use, or a person would be in two parts.
    """
    lines: list[dict[str, Any]] = []
    seen: set[str] = set()
    about: dict[str, Any] = {}
    where: dict[str, Path] = {}
    for folder in folders:
        rows, about = read_manifest(folder)
        for row in rows:
            if row["kept"] and row["clip_id"] in seen:
                continue
            if row["kept"]:
                seen.add(row["clip_id"])
                where[row["clip_id"]] = folder / CLIPS / row["clip_id"]
            lines.append(row)
    _deal(lines, split)
    workspace = Workspace(out.absolute())
    with claimed(workspace):
        for clip_id, source in where.items():
            if not (workspace.clips / clip_id).exists():
                part = workspace.scratch("")
                _copy(source, part)
                part.replace(workspace.clips / clip_id)
        write_manifest(out / MANIFEST, lines, about)
    return lines


def _copy(source: Path, target: Path) -> None:
    """A clip's regular files; links would lead out of the build. Raises: MediaError: there is no such folder."""
    if source.is_symlink() or not source.is_dir():
        raise MediaError(f"{source}: is missing. Run `latentsync data build` again.")
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.is_symlink():
            _link(str(path), str(target / path.name))


def _deal(lines: Sequence[dict[str, Any]], split: SplitSettings | None) -> None:
    if split is not None:
        parts = split_identities([row["identity"] for row in lines if row["kept"]], split)
        for row in lines:
            row["split"] = parts[row["identity"]] if row["kept"] else ""
        return
    given: dict[str, str] = {}
    for row in lines:
        if row["kept"] and given.setdefault(row["identity"], row["split"]) != row["split"]:
            raise LatentSyncError(
                f"{row['identity']}: is in {given[row['identity']]} of one build and in {row['split']} of another. "
                "Deal them anew with --val and --test."
            )


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
