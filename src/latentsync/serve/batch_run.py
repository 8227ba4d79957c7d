"""A batch is put into the job table, watched, and its results are put into the output folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentsync.config.plan import load_plan
from latentsync.core.errors import ConfigError, LatentSyncError, MediaError, Stopped
from latentsync.core.progress import Progress, ProgressCallback, StopFlag
from latentsync.media.information import probe
from latentsync.serve.batch import BatchItem
from latentsync.serve.files import Files
from latentsync.serve.queries import JobQueries
from latentsync.serve.settings import ServeConfig
from latentsync.serve.spec import FACE, check_spec
from latentsync.serve.store import ENDED, JobStore
from latentsync.serve.supervisor import Supervisor
from latentsync.serve.tables import connect

log = logging.getLogger(__name__)
LOOK_S = 0.3


class Batch:
    """The jobs of one output folder; a second run of the same list goes on where the first one ended."""

    def __init__(self, config: ServeConfig, out: Path) -> None:
        self.config, self.out = config, out
        config.data.mkdir(parents=True, exist_ok=True)
        engine = connect(config.database_url)
        self.store, self.queries, self.files = JobStore(engine), JobQueries(engine), Files(engine, config)
        self.name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:32]

    def put_in(self, items: Sequence[BatchItem], changes: Mapping[str, Any], extras: Sequence[str], retry: bool,
               overwrite: bool) -> list[tuple[BatchItem, str | LatentSyncError]]:  # fmt: skip
        """Every film with the number of its job, or with why it cannot become one.

        Args: changes: options that hold where a row says nothing else. retry: put failed ones in again.
        Raises: MediaError: a result is there that no run of this batch made.
        """
        rows = self.queries.page("", limit=10**6, door="batch", batch=self.name)
        known = {row["idempotency_key"]: row for row in rows}
        ours = {json.loads(row["spec"])["out"] for row in rows}
        for item in items:
            if (self.out / item.out).exists() and item.out not in ours and not overwrite:
                raise MediaError(f"{self.out / item.out}: exists. Choose another folder, or pass --overwrite.")
        made: list[tuple[BatchItem, str | LatentSyncError]] = []
        for item in items:
            try:
                made.append((item, self._one(item, known, changes, extras, retry)))
            except LatentSyncError as error:
                made.append((item, error))
        return made

    def _one(self, item: BatchItem, known: Mapping[str, Any], changes: Mapping[str, Any], extras: Sequence[str],
             retry: bool) -> str:  # fmt: skip
        spec = spec_of(item, changes, extras)
        key = hashlib.sha256(f"{self.name} {item.key} {json.dumps(spec, sort_keys=True)}".encode()).hexdigest()
        row = known.get(key)
        if row is not None and row["state"] in ("failed", "cancelled") and retry:
            self.store.delete(row["seq"])
        elif row is not None and row["state"] == "done" and not self.placed(row) and not self.made(row).exists():
            self.store.delete(row["seq"])  # its result was taken away: made again
        job, _ = self.store.submit(
            owner="", name=item.out, model=item.model or self.config.models[0], spec=spec, door="batch",
            batch=self.name, expected_frames=_frames(item), key=key, key_hash="",
        )  # fmt: skip
        return str(job["id"])

    def made(self, row: Mapping[str, Any]) -> Path:
        """A finished job's result where its worker left it."""
        facts = json.loads(row["result"])
        return self.files.job_folder(row["id"]) / f"try-{facts['try']}" / facts["files"]["result"]

    def placed(self, row: Mapping[str, Any]) -> bool:
        """Whether a finished job's result lies in the output folder."""
        path = self.out / json.loads(row["spec"])["out"]
        return path.is_file() and path.stat().st_size == json.loads(row["result"])["size"]

    def place(self, row: Mapping[str, Any]) -> None:
        """Put a finished job's result into the output folder, whole or not at all."""
        source, target = self.made(row), self.out / json.loads(row["spec"])["out"]
        if source.exists():
            try:
                source.replace(target)
            except OSError:  # the table's folder lies on another disk
                part = target.with_name(f".{target.name}.part")
                shutil.copyfile(source, part)
                part.replace(target)
                source.unlink()

    def run(self, jobs: Sequence[str], progress: ProgressCallback, stop: StopFlag,
            engine: Callable[[ServeConfig, JobStore], Any] = Supervisor) -> None:  # fmt: skip
        """Start workers and wait until every job has ended. Raises: Stopped: jobs at hand go back into the table."""
        waiting, ended = set(jobs), 0
        self._collect(waiting)
        ended = len(jobs) - len(waiting)
        progress(Progress("films", ended, len(jobs), "films"))
        if not waiting:
            return
        workers = engine(self.config, self.store)
        workers.start()
        try:
            while waiting:
                if stop():
                    raise Stopped(f"stopped; {len(waiting)} of {len(jobs)} films are left. The same command goes on")
                time.sleep(LOOK_S)
                self._collect(waiting)
                if len(jobs) - len(waiting) != ended:
                    ended = len(jobs) - len(waiting)
                    progress(Progress("films", ended, len(jobs), "films"))
        finally:
            workers.stop()

    def _collect(self, waiting: set[str]) -> None:
        for row in self.queries.page("", ENDED, limit=10**6, door="batch", batch=self.name):
            if row["id"] in waiting:
                waiting.discard(row["id"])
                if row["state"] == "done":
                    self.place(row)
                else:
                    log.warning(
                        "%s: %s", row["name"], json.loads(row["error"] or '{"message": "cancelled"}')["message"]
                    )


def spec_of(item: BatchItem, changes: Mapping[str, Any], extras: Sequence[str]) -> dict[str, Any]:
    """A film as a job whose files are named by their paths. Raises: LatentSyncError: it cannot be run so."""
    paths: dict[str, str] = {}

    def number(path: Path) -> str:
        found = f"file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]}"
        paths[found] = str(path.resolve())
        return found

    options = dict(changes) | dict(item.options)
    for key in ("face", "mix"):
        if key in options and (key == "mix" or not FACE.fullmatch(str(options[key]))):
            path = Path(str(options[key]))
            if not path.is_file():
                raise ConfigError(key, options[key], "there is no such file")
            options[key] = number(path)
    spec: dict[str, Any] = {"video": number(item.video), "audio": None, "plan": None, "preset": item.preset}
    if item.audio is not None:
        spec["audio"] = number(item.audio)
    elif item.plan is not None:
        spec["plan"] = [_entry(entry, number) for entry in load_plan(item.plan).entries]
    kinds = [extra for extra in extras if not (extra == "report" and item.plan is not None)]
    container = Path(item.out).suffix.removeprefix(".")
    spec |= {"options": options, "extras": kinds, "container": container, "out": item.out, "paths": paths}
    for name in paths.values():
        if not Path(name).is_file():
            raise MediaError(f"{name}: no such file")
    check_spec(spec)
    return spec


def _entry(entry: Any, number: Callable[[Path], str]) -> dict[str, Any]:
    face = entry.face
    if face is not None and not FACE.fullmatch(face):
        face = number(Path(face))
    values = {
        "audio": number(entry.audio), "face": face, "start": str(float(entry.start_s)), "sound": entry.sound,
        "end": None if entry.end_s is None else str(float(entry.end_s)), "audio_track": entry.audio_track,
        "audio_start": str(float(entry.audio_start_s)) if entry.audio_start_s else None,
    }  # fmt: skip
    return {key: value for key, value in values.items() if value is not None}


def _frames(item: BatchItem) -> float | None:
    """Frames of the video, roughly, for the time that is left. Raises: MediaError: it cannot be read."""
    info = probe(item.video).video
    if info is None:
        raise MediaError(f"{item.video}: there is no picture in it. Pass a video")
    return None if info.duration_s is None else float(info.duration_s * info.fps)
