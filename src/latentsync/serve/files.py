"""Uploads: bytes in a folder per file, under a number of our own; the name that a user gave is text, never a path."""

from __future__ import annotations

import errno
import json
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from latentsync.core.errors import LatentSyncError
from latentsync.core.files import DISK_FULL
from latentsync.core.hashing import file_sha256
from latentsync.serve.settings import ServeConfig
from latentsync.serve.tables import files, now_of

FILE_ID, JOB_ID = re.compile(r"file_[0-9a-f]{20}"), re.compile(r"job_[0-9a-f]{20}")
SUFFIXES = frozenset(
    ".mp4 .mov .m4v .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .mxf .flv .wmv .3gp .ogv .gif "  # noqa: SIM905
    ".wav .mp3 .m4a .aac .flac .ogg .opus .wma .aif .aiff .caf .jpg .jpeg .png .webp .bmp .tif .tiff".split()
)
"""Endings that a stored file keeps: of the user's name only these words reach the disk."""
LONGEST_NAME = 200


class NoSpace(LatentSyncError):
    """The disk is full, or would be."""


class WrongOffset(LatentSyncError):
    """A part of an upload does not begin where the last one ended."""


class Files:
    """The uploads of a service."""

    def __init__(self, engine: sa.Engine, config: ServeConfig) -> None:
        self.engine, self.config, self._now = engine, config, now_of(engine)
        self._lock = threading.Lock()
        self.folder, self.jobs_folder = config.data / "files", config.data / "jobs"
        for folder in (self.folder, self.jobs_folder):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, file_id: str, suffix: str) -> Path:
        """Where a file's bytes lie. Raises: ValueError: no such number was ever given."""
        if not FILE_ID.fullmatch(file_id):
            raise ValueError(file_id)
        return self.folder / file_id / f"content{suffix}"

    def path_of(self, row: Mapping[str, Any]) -> Path:
        return self.path(row["id"], row["suffix"])

    def beside(self, row: Mapping[str, Any], name: str) -> Path:
        """A file of ours in the same folder, e.g. a preview."""
        return self.path_of(row).with_name(name)

    def job_folder(self, job_id: str) -> Path:
        if not JOB_ID.fullmatch(job_id):
            raise ValueError(job_id)
        return self.jobs_folder / job_id

    def create(self, owner: str, name: str, size: int) -> dict[str, Any]:
        """Begin an upload of `size` bytes. Raises: NoSpace."""
        self.check_space(size)
        name = clean_name(name)
        suffix = Path(name).suffix.lower()
        values = {
            "id": f"file_{secrets.token_hex(10)}", "owner": owner, "name": name, "size": size, "received": 0,
            "suffix": suffix if suffix in SUFFIXES else ".bin", "created_at": self._now, "used_at": self._now,
        }  # fmt: skip
        with self.engine.begin() as connection:
            row = dict(connection.execute(sa.insert(files).values(values).returning(files)).mappings().one())
        path = self.path_of(row)
        path.parent.mkdir()
        path.touch()
        return row

    def check_space(self, size: int) -> None:
        """Raises: NoSpace: so many bytes would not leave the disk its spare ones."""
        free = shutil.disk_usage(self.folder).free - self.config.spare_bytes
        if size > free:
            raise NoSpace(f"there is room for {max(0, free) // 2**20} MiB, not for {size // 2**20 + 1} MiB")

    def get(self, file_id: str, owner: str | None = None) -> dict[str, Any] | None:
        wanted = files.c.id == file_id
        if owner is not None:
            wanted = wanted & (files.c.owner == owner)
        with self.engine.execution_options(reads=True).connect() as connection:
            row = connection.execute(sa.select(files).where(wanted)).mappings().one_or_none()
            return None if row is None else dict(row)

    def page(self, owner: str, limit: int = 500) -> list[dict[str, Any]]:
        with self.engine.execution_options(reads=True).connect() as connection:
            mine = sa.select(files).where(files.c.owner == owner).order_by(files.c.created_at.desc()).limit(limit)
            return [dict(row) for row in connection.execute(mine).mappings()]

    def offset(self, row: Mapping[str, Any]) -> int:
        """Bytes that are there: those on the disk, whatever happened between them and the table."""
        return min(self.path_of(row).stat().st_size, row["size"])

    def append(self, row: Mapping[str, Any], offset: int, block: bytes) -> int:
        """Add bytes at the end. Returns: the new end. Raises: WrongOffset, NoSpace."""
        path = self.path_of(row)
        if offset + len(block) > row["size"]:
            raise WrongOffset("more bytes came than the upload was announced with")
        try:
            with self._lock, path.open("r+b") as file:
                if file.seek(0, 2) != offset:
                    raise WrongOffset(f"the upload goes on at byte {file.tell()}, not at {offset}")
                file.write(block)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise NoSpace("the disk of the service is full") from error
            if error.errno == errno.ENOENT:
                raise WrongOffset("the upload is not there any more") from error
            raise
        return offset + len(block)

    def note(self, file_id: str, received: int) -> None:
        """Write down how much came."""
        with self.engine.begin() as connection:
            row = sa.update(files).where(files.c.id == file_id)
            connection.execute(row.values(received=received, used_at=self._now))

    def complete(self, row: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
        """All bytes are there: their hash and what is known of them are written down."""
        path = self.path_of(row)
        digest = file_sha256(path)
        values = {"received": row["size"], "sha256": digest, "info": json.dumps(info), "used_at": self._now}
        with self.engine.begin() as connection:
            mine = files.c.id == row["id"]
            return dict(
                connection.execute(sa.update(files).where(mine).values(values).returning(files)).mappings().one()
            )

    def touch(self, file_ids: list[str]) -> None:
        """They are used: their time of keeping begins again."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(files).where(files.c.id.in_(file_ids)).values(used_at=self._now))

    def delete(self, file_id: str) -> None:
        """Row and folder."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(files).where(files.c.id == file_id))
        if FILE_ID.fullmatch(file_id):
            shutil.rmtree(self.folder / file_id, ignore_errors=True)

    def delete_job(self, job_id: str) -> None:
        """A job's folder."""
        shutil.rmtree(self.job_folder(job_id), ignore_errors=True)


def clean_name(name: str) -> str:
    """A file's name as text for people: its last part, no control characters, not too long."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip(". ")
    stem, dot, suffix = shown.rpartition(".")
    if len(shown) > LONGEST_NAME:
        shown = shown[:LONGEST_NAME] if not dot or len(suffix) > 8 else f"{stem[: LONGEST_NAME - 10]}.{suffix}"
    return shown or "unnamed"
