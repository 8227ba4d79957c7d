"""Work kept between runs: face tracks for the next speech, and finished chunks for a run that was broken off.

Everything is found by what it was made from, never by a file's name. A run with a cache writes the same file as one
without; where the cache cannot be written, e.g. on a full disk, the run warns once and goes on without it.

    tracks/KEY.faces, KEY.json    the faces of a video, by its content; used when a run needs no more than was recorded
    chunks/KEY.crops              generated crops, by their inputs and the networks; deleted when the run succeeds

Every file carries a SHA-256 of what it holds and is on the disk before it counts: what a killed run, a full disk or a
damaged one left is made anew, with a word.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from latentsync.config.options import SyncOptions
from latentsync.config.times import exact
from latentsync.core.errors import LatentSyncError
from latentsync.core.files import atomic_path, sweep_parts
from latentsync.core.hashing import blocks, file_sha256
from latentsync.core.reading import SETTINGS_BYTES, read_json
from latentsync.core.values import AlignedFace, Face, Float, Frame
from latentsync.faces.protocol import FaceTracker, TrackingSession
from latentsync.generation.protocol import ChunkInputs, MouthSampler, TrackReferences

log = logging.getLogger(__name__)

VERSION = 5
_FACE = np.dtype([("id", "<i4"), ("score", "<f8"), ("visible", "<f8"), ("landmarks", "<f4", (468, 2))])
_DIGEST = hashlib.sha256().digest_size


class RunCache:
    """The cache of one run."""

    def __init__(self, folder: Path, video: Path, options: SyncOptions, total_s: Fraction) -> None:
        """Args: total_s: length of the result. Raises: LatentSyncError: the folder cannot be made."""
        self._chunks, self._tracks = folder / "chunks", folder / "tracks"
        try:
            for part in (self._chunks, self._tracks):
                part.mkdir(parents=True, exist_ok=True)
                sweep_parts(part)
        except OSError as error:
            raise LatentSyncError(f"{folder}: cannot be a cache ({error.strerror}). Choose another folder") from error
        self._video, self._total_s = video, total_s
        self._span = f"{options.start_s} {options.end_s} {options.length}"
        self._used: set[Path] = set()
        self._resumes = False
        self._trouble = _Trouble(folder)

    def tracker(self, tracker: FaceTracker) -> FaceTracker:
        """A tracker that remembers; one without an `identity` (see `MeshTracker.identity`) is returned as it is."""
        identity = getattr(tracker, "identity", None)
        if identity is None:
            return tracker
        digest = hashlib.sha256(f"{VERSION} {identity} {self._span}".encode())
        for block in blocks(self._video):
            digest.update(block)
        path = self._tracks / f"{digest.hexdigest()}.faces"
        return _KnownTracker(tracker, path, self._total_s, self._trouble)

    def sampler(self, sampler: MouthSampler) -> MouthSampler:
        """The sampler with its finished chunks remembered until `finish`."""
        return _Remembering(self, sampler)

    def chunk(self, digest: str, shape: tuple[int, ...]) -> tuple[Path, Float | None]:
        """Where a chunk's crops are kept, and what is there of that shape."""
        path = self._chunks / f"{digest}.crops"
        self._used.add(path)
        size = 4 * math.prod(shape)
        try:
            with path.open("rb") as file:
                data = file.read(size + _DIGEST + 1)
        except OSError:
            return path, None  # not there
        if len(data) != size + _DIGEST or hashlib.sha256(data[:size]).digest() != data[size:]:
            log.warning("%s: damaged, made anew", path)
            return path, None
        if not self._resumes:
            log.info("%s: what a broken-off run had finished is used", self._chunks)
        self._resumes = True
        return path, np.frombuffer(data, "<f4", math.prod(shape)).reshape(shape).astype(np.float32)

    def keep(self, path: Path, made: Float) -> None:
        """Put a chunk's crops there, if that is possible."""
        if not self._trouble.is_met:
            try:
                data = np.ascontiguousarray(made, "<f4").tobytes()
                with atomic_path(path, durable=True) as part, part.open("wb") as file:
                    file.write(data)
                    file.write(hashlib.sha256(data).digest())
            except OSError as error:
                self._trouble.meet(error)

    def finish(self) -> None:
        """The run succeeded: its chunks are of no more use."""
        for path in self._used:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._trouble.meet(error)


class _Remembering:
    """A sampler in front of which finished chunks are looked up."""

    def __init__(self, cache: RunCache, sampler: MouthSampler) -> None:
        self._cache, self._sampler = cache, sampler
        self.mask, self.reference_frames = sampler.mask, sampler.reference_frames
        self._base = hashlib.sha256(f"{VERSION} {sampler.identity()}".encode())

    def choose_references(
        self, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], spacing: int
    ) -> TrackReferences:
        return self._sampler.choose_references(faces, crop_of, spacing)

    def prepare(self, inputs: ChunkInputs) -> tuple[Path, Any]:
        digest = self._base.copy()
        own = (inputs.crops, inputs.audio_features.float().cpu().numpy(), np.asarray(inputs.frames))
        references = (None,) if inputs.references is None else inputs.references.arrays()
        for array in (*own, *references):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        path, known = self._cache.chunk(digest.hexdigest(), inputs.crops.shape)
        return path, self._sampler.prepare(inputs) if known is None else known

    def finish(self, prepared: tuple[Path, Any]) -> Float:
        path, work = prepared
        if isinstance(work, np.ndarray):
            return work
        crops = self._sampler.finish(work)
        self._cache.keep(path, crops)
        return crops

    def identity(self) -> str:
        return self._sampler.identity()


class _Trouble:
    """Whether the cache could not be written: told once, and not tried again in this run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.is_met = folder, False

    def meet(self, error: OSError) -> None:
        if not self.is_met:
            reason = error.strerror or error  # NumPy's have no number: "100 requested and 60 written"
            log.warning("%s: the cache cannot be written (%s); the run goes on without it", self._folder, reason)
        self.is_met = True


class _KnownTracker:
    def __init__(self, tracker: FaceTracker, path: Path, total_s: Fraction, trouble: _Trouble) -> None:
        self._tracker, self._path, self._total_s, self._trouble = tracker, path, total_s, trouble

    def open(self) -> TrackingSession:
        if self._covers():
            log.info("faces of this video are known, from %s", self._path)
            return _Known(self._path)
        return _Recording(self._tracker.open(), self._path, self._total_s, self._trouble)

    def _covers(self) -> bool:
        """A longer result of the same video begins with the same frames, so its record serves a shorter one."""
        beside = self._path.with_suffix(".json")
        if not beside.exists():
            return False
        try:
            about = read_json(beside, SETTINGS_BYTES)
            if exact(about["total_s"]) < self._total_s:
                return False
            if file_sha256(self._path) == about["sha256"]:
                return True
        except (OSError, ValueError, KeyError, TypeError, LatentSyncError) as error:
            log.debug("%s: %s", beside, error)
        log.warning("%s: damaged, the faces of this video are looked for anew", self._path)
        return False


class _Recording(AbstractContextManager[TrackingSession]):
    """A session whose answers are written down as they come; the record appears when the video ends well."""

    def __init__(self, session: TrackingSession, path: Path, total_s: Fraction, trouble: _Trouble) -> None:
        self._session, self._path, self._total_s, self._trouble = session, path, total_s, trouble
        self._record = ExitStack()
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def __enter__(self) -> _Recording:
        self._session.__enter__()
        try:
            part = self._record.enter_context(atomic_path(self._path, durable=True))
            self._file = self._record.enter_context(part.open("wb"))
        except OSError as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._file is not None:
                self._record.__exit__(kind, error, trace)
                if kind is None:
                    about = {"sha256": self._digest.hexdigest(), "total_s": str(self._total_s)}
                    with atomic_path(self._path.with_suffix(".json"), durable=True) as part:
                        part.write_text(json.dumps(about), "utf-8")
        except OSError as failure:
            self._trouble.meet(failure)
        finally:
            self._session.__exit__(kind, error, trace)

    def track(self, frame: Frame) -> tuple[Face, ...]:
        faces = self._session.track(frame)
        if self._file is not None:
            records = np.zeros(len(faces), _FACE)
            for record, face in zip(records, faces, strict=True):
                record["id"], record["score"], record["visible"] = face.track_id, face.score, face.visible
                record["landmarks"] = face.landmarks
            try:
                data = len(faces).to_bytes(2, "little") + records.tobytes()
                self._digest.update(data)
                self._file.write(data)
                self._file.flush()  # the part's time tells that its run is alive, see `sweep_parts`
            except OSError as error:
                self._give_up(error)
        return faces

    def _give_up(self, error: OSError) -> None:
        self._file = None
        self._trouble.meet(error)
        with suppress(OSError):  # closing what could not be written fails once more
            self._record.__exit__(type(error), error, error.__traceback__)

    def cut(self) -> None:
        self._session.cut()


class _Known(AbstractContextManager[TrackingSession]):
    """A session that reads what was written down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Known:
        self._file = self._path.open("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def track(self, frame: Frame) -> tuple[Face, ...]:
        head = self._file.read(2)
        data = self._file.read(int.from_bytes(head, "little") * _FACE.itemsize)
        if len(head) < 2 or len(data) < int.from_bytes(head, "little") * _FACE.itemsize:
            raise LatentSyncError(f"{self._path}: ends before the video does. Delete it, or run without the cache")
        records = np.frombuffer(data, _FACE)
        return tuple(
            Face(int(r["id"]), np.array(r["landmarks"], np.float32), float(r["score"]), float(r["visible"]))
            for r in records
        )

    def cut(self) -> None:
        """The ids are written down as they were after the cut."""
