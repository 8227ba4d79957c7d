"""The output folder of a build: what steps have done, their files, the lock. Everything appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.files import atomic_path
from latentsync.core.locks import try_lock
from latentsync.data.clip import Clip, Source, dumps, from_dict, to_dict

FORMAT = 1
CLIPS = "clips"
WORK = ".work"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below the output folder. Nothing outside it is written or deleted."""

    root: Path

    @property
    def clips(self) -> Path:
        """One folder a kept clip."""
        return self.root / CLIPS

    @property
    def work(self) -> Path:
        return self.root / WORK

    def file(self, stage: str, name: str) -> Path:
        """Place of an intermediate file; its folder is made."""
        path = self.work / "files" / stage / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def scratch(self, suffix: str) -> Path:
        """A fresh place for a file that will be moved to its own by `os.replace`."""
        folder = self.work / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{os.getpid()}-{uuid4().hex}{suffix}"

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def path(self, relative: str) -> Path:
        return self.root / relative


def step_key(stage: str, version: int, settings: dict[str, Any], clip: Clip, beside: str = "") -> str:
    """Hash of everything that a step's outcome depends on: the stage, its settings, all it is reported of the clip, and
    what lies `beside` that.

    The source's name, place and identity are left out, so that moving the inputs redoes nothing.
    """
    given = dumps([FORMAT, stage, version, settings, clip.source.sha256, to_dict(clip), *([beside] if beside else [])])
    return hashlib.sha256(given.encode()).hexdigest()[:32]


class Ledger:
    """Which steps are done, one small file each, written after the step's own files."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def find(self, stage: str, key: str, source: Source) -> tuple[list[Clip], float] | None:
        """What a step came to and how many seconds it took, None where it is to be done (again)."""
        path = self._path(stage, key)
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        clips = [from_dict(entry, source) for entry in data["clips"]]
        root = self.workspace.root
        if any(not (root / file).exists() for clip in clips if clip.rejected is None for file in clip.files.values()):
            return None  # somebody deleted them
        return clips, float(data["seconds"])

    def store(self, stage: str, key: str, clips: list[Clip], seconds: float) -> None:
        path = self._path(stage, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"clips": [to_dict(clip) for clip in clips], "seconds": round(seconds, 4)}
        with atomic_path(path) as part:
            part.write_text(dumps(data), encoding="utf-8")

    def _path(self, stage: str, key: str) -> Path:
        return self.workspace.work / "steps" / stage / key[:2] / f"{key}.json"


@contextmanager
def claimed(workspace: Workspace) -> Iterator[None]:
    """Hold the output folder for one build, and sweep up what a killed one left half done.

    Raises: LatentSyncError: another build is at work in it, or it is not ours. MediaError: it cannot be written.
    """
    root = workspace.root
    try:
        if root.exists() and any(root.iterdir()) and not workspace.work.is_dir():
            raise LatentSyncError(f"{root}: is not empty and holds no data build. Choose another folder.")
        workspace.work.mkdir(parents=True, exist_ok=True)
        workspace.clips.mkdir(exist_ok=True)
        (workspace.work / "lock").touch()
    except OSError as error:
        raise MediaError(f"{root}: cannot be written ({error.strerror}). Choose another folder.") from error
    with try_lock(workspace.work / "lock") as ours:
        if not ours:
            raise LatentSyncError(f"{root}: another build is at work in it. Wait for it, or choose another folder.")
        shutil.rmtree(workspace.work / "scratch", ignore_errors=True)
        for folder in (workspace.clips, workspace.work):
            for part in folder.rglob(".*.part*"):
                part.unlink(missing_ok=True)
        yield


def is_disk_full(error: BaseException | None) -> bool:
    """No space is left, or the quota is used up; also where a MediaError says so."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
