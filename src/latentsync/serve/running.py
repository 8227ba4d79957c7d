"""One job is run: its model is loaded or kept, its progress told, its result and pictures put into its folder."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from latentsync.core.errors import (
    ConfigError,
    EmptyAudioError,
    LatentSyncError,
    MediaError,
    NoFaceError,
    Stopped,
    WeightsError,
)
from latentsync.core.files import DISK_FULL, without_temporary
from latentsync.core.hashing import file_sha256
from latentsync.core.progress import Progress
from latentsync.serve.files import Files, clean_name
from latentsync.serve.settings import ServeConfig
from latentsync.serve.spec import file_ids, options_of, plan_of, result_suffix
from latentsync.serve.store import Claim, JobStore, LostLease

if TYPE_CHECKING:
    from latentsync.pipeline import Lipsync

log = logging.getLogger(__name__)

EVERY_S = 0.5
"""Between two progress events of a job."""
CODES = (
    (NoFaceError, "no_face"),
    (EmptyAudioError, "media"),
    (MediaError, "media"),
    (ConfigError, "config"),
    (WeightsError, "weights"),
    (LatentSyncError, "media"),
)


class Halted(Exception):
    """The worker is to end: its job goes back into the queue."""


class Runner:
    """Runs jobs one after the other and keeps the last model.

    Args:
        device: where to compute; None = the best there is.
        halted: asked often; when it says yes, the job is put back and `Halted` raised.
        load: how a model is loaded, for tests; None = `Lipsync.from_pretrained`.
    """

    def __init__(
        self,
        config: ServeConfig,
        store: JobStore,
        files: Files,
        device: str | None = None,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.store, self.files, self.device, self.halted = config, store, files, device, halted
        self._model: tuple[str, Lipsync] | None = None

    def run(self, claim: Claim, told: Told) -> None:
        """Run a claimed job to its end, whatever end that is. Raises: LostLease, Halted."""
        try:
            result, warnings, size = self._made(claim, told)
        except (LostLease, Halted, DBAPIError):  # without its table the job waits for its lease to run out
            raise
        except Stopped:
            if told.lost:
                raise LostLease(claim.job["id"]) from None
            if self.halted() and not told.cancelling:
                raise Halted from None
            self._clear(claim, keep=None)
            self.store.cancelled(claim)
        except LatentSyncError as error:
            self._clear(claim, keep=None)
            self.store.fail(claim, self._error(claim, error), told.warnings)
        except OSError as error:
            if error.errno not in DISK_FULL:
                self._bug(claim, error)
                return
            self._clear(claim, keep=None)
            full = {"code": "no_space", "message": "the disk of the service is full", "setting": None}
            self.store.fail(claim, full)
        except Exception as error:  # the edge of the worker: the next job is another one's
            self._bug(claim, error)
        else:
            self.store.finish(claim, result, warnings, size)
            self._clear(claim, keep=claim.attempt)

    def _bug(self, claim: Claim, error: BaseException) -> None:
        log.error("job %s: internal error", claim.job["id"], exc_info=error)
        self._clear(claim, keep=None)
        words = "internal error; the log of the service has the details"
        self.store.fail(claim, {"code": "internal", "message": words, "setting": None})

    def _made(self, claim: Claim, told: Told) -> tuple[dict[str, Any], list[str], int]:
        """The result's facts, the warnings, and the bytes of its folder."""
        spec = json.loads(claim.job["spec"])
        paths = {each: self._path(claim.job, spec, each) for each in file_ids(spec)}
        options, plan = options_of(spec, paths.__getitem__), plan_of(spec, paths.__getitem__)
        folder = self.files.job_folder(claim.job["id"]) / f"try-{claim.attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        video = paths[spec["video"]]
        audio = paths[spec["audio"]] if spec.get("audio") else None
        out = folder / f"result{result_suffix(spec, video.suffix)}"
        from latentsync.pipeline.output import check_output
        from latentsync.pipeline.preflight import check_faces

        check_output(video, out, options)
        check_faces(plan, options)
        told(Progress("load", 0, 1, "model"))
        model = self.model(claim.job["model"], told)
        cache = self.files.job_folder(claim.job["id"]) / "work"
        made = model(video, audio, out, plan=plan, options=options, cache=cache, progress=told, stop=told.stop)
        told.warn(made.warnings)
        facts = made.as_dict()
        del facts["out_path"]
        shown = clean_name(claim.job["name"])
        facts |= {"file": out.name, "try": claim.attempt, "name": f"{Path(shown).stem or 'result'}{out.suffix}"}
        facts |= {"size": out.stat().st_size, "sha256": file_sha256(out), "files": {"result": out.name}}
        self._extras(spec, folder, video, audio, out, options, plan, model, facts, told)
        size = sum(path.stat().st_size for path in folder.iterdir())
        return facts, told.warnings, size

    def _path(self, job: Mapping[str, Any], spec: Mapping[str, Any], file_id: str) -> Path:
        """Where a file lies: an upload's place, or in a batch, which only this machine's user makes, its own path."""
        if job["door"] == "batch":
            return Path(spec["paths"][file_id])
        row = self.files.get(file_id)
        if row is None:
            raise MediaError(f"{file_id}: the file is not kept any more. Upload it again")
        return self.files.path_of(row)

    def model(self, name: str, told: Callable[[Progress], None]) -> Lipsync:
        """The model of that name, loaded unless it was the last one."""
        from latentsync.pipeline import Lipsync

        if self._model is None or self._model[0] != name:
            self._model = None  # let go before the next one comes
            config = self.config
            loaded = Lipsync.from_pretrained(
                config.model_path(name), device=self.device, dtype=config.dtype, offline=config.offline,
                face_model=config.face_model, progress=told,
            )  # fmt: skip
            self._model = name, loaded
        return self._model[1]

    def _extras(
        self, spec: Mapping[str, Any], folder: Path, video: Path, audio: Path | None, out: Path, options: Any,
        plan: Any, model: Lipsync, facts: dict[str, Any], told: Told,
    ) -> None:  # fmt: skip
        """Previews and pictures of a finished result; one that cannot be made is a warning."""
        from latentsync.serve import looking

        part = {
            "start_s": options.start_s,
            "end_s": options.end_s,
            "length": "video" if audio is None else options.length,
        }
        steps: dict[str, list[tuple[str, str, Callable[[Path], object]]]] = {
            "preview": [
                ("preview", "preview.mp4", lambda path: looking.small_video(out, path, sound=out)),
                ("before", "before.mp4", lambda path: looking.small_video(video, path, None, out, **part)),
                ("thumbnail", "thumbnail.jpg", lambda path: looking.still(out, facts["duration_s"] / 3, path)),
            ],
            "strip": [("strip", "strip.png", lambda path: self._strip(video, out, path, options, plan, model))],
            "report": [
                ("report", "report.html", lambda path: self._report(video, audio, out, path, options, model, facts))
            ],
        }
        for extra in spec.get("extras") or ():
            told(Progress(extra, 0, 1, extra))
            for name, file, make in steps[extra]:
                told.check()
                try:
                    make(folder / file)
                    facts["files"][name] = file
                except LatentSyncError as error:
                    told.warn([f"{name} not made: {self._words(spec, str(error))}"])

    def _strip(self, video: Path, out: Path, path: Path, options: Any, plan: Any, model: Lipsync) -> None:
        from latentsync.media import VideoReader
        from latentsync.metrics.strips import mouth_strip, people_strip
        from latentsync.pipeline.plan import planned

        if plan is None:
            start_s, tracker = options.start_s or Fraction(0), model.tracker
            mouth_strip(video, out, path, start_s=start_s, end_s=options.end_s, choice=options.face, tracker=tracker)
            return
        with VideoReader(video, options.start_s, options.end_s) as reader:
            script = planned(plan, reader, options)
            people_strip(script.frames, out, path, [each.wanted for each in script.speakers], tracker=model.tracker)

    def _report(
        self,
        video: Path,
        audio: Path | None,
        out: Path,
        path: Path,
        options: Any,
        model: Lipsync,
        facts: dict[str, Any],
    ) -> None:
        from latentsync.core.files import atomic_path, temporary_folder
        from latentsync.evaluation.single import write_single_report

        if audio is None:
            raise ConfigError("report", None, "a plan has several speeches; the page scores one")
        with temporary_folder() as scratch:
            pages = write_single_report(
                video, audio, out, scratch, model.tracker, about={"model": facts["model"], "seed": facts["seed"]},
                start_s=options.start_s, end_s=options.end_s, audio_start_s=options.audio_start_s,
                audio_track=options.audio_track,
            )  # fmt: skip
            with atomic_path(path) as part:
                part.write_bytes(pages["report.html"].read_bytes())
            facts["scores"] = _scores(json.loads(pages["report.json"].read_text("utf-8")))

    def _clear(self, claim: Claim, keep: int | None) -> None:
        """Delete what other tries left in the job's folder, and the work that a broken-off run would take up again."""
        folder = self.files.job_folder(claim.job["id"])
        for path in folder.iterdir() if folder.is_dir() else ():
            if keep is None or path.name != f"try-{keep}":
                shutil.rmtree(path, ignore_errors=True)
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)

    def _error(self, claim: Claim, error: LatentSyncError) -> dict[str, Any]:
        code = next(code for kind, code in CODES if isinstance(error, kind))
        setting = error.key if isinstance(error, ConfigError) else None
        if "disk" in str(error).lower() and "full" in str(error).lower():
            code = "no_space"
        return {"code": code, "message": self._words(json.loads(claim.job["spec"]), str(error)), "setting": setting}

    def _words(self, spec: Mapping[str, Any], text: str) -> str:
        """A message in which files are called as their user called them, and no path of this machine is told."""
        for each in () if "paths" in spec else file_ids(spec):  # a batch calls files by their own paths
            row = self.files.get(each)
            if row is not None:
                text = text.replace(str(self.files.path_of(row)), row["name"])
                text = text.replace(self.files.path_of(row).name, row["name"])
        folder = str(self.files.jobs_folder)
        words = [word if folder not in word else Path(word.rstrip(":")).name for word in text.split(" ")]
        return without_temporary(" ".join(words))


def _scores(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the result's own row."""
    for row in report.get("rows", ()):
        if row.get("system") == "model":
            return {key: value for key, value in row.get("values", {}).items() if isinstance(value, (int, float))}
    return {}


class Told:
    """Hears the progress of one run: writes it down, keeps the lease, and says when to stop."""

    def __init__(self, store: JobStore, claim: Claim, lease_s: float, halted: Callable[[], bool]) -> None:
        self.store, self.claim, self.lease_s, self.halted = store, claim, lease_s, halted
        self.cancelling = self.lost = False
        self.heard_at = time.monotonic()
        self.warnings: list[str] = []
        self._written_at, self._stage, self._stage_at = 0.0, "", 0.0

    def __call__(self, step: Progress) -> None:
        now = self.heard_at = time.monotonic()
        if step.stage != self._stage:
            self._stage, self._stage_at, self._written_at = step.stage, now, 0.0
        is_last = step.total is not None and step.done >= step.total
        if now - self._written_at < EVERY_S and not (is_last and step.stage == "sync"):
            return
        self._written_at = now
        rate = step.done / (now - self._stage_at) if step.done and now > self._stage_at else None
        left = None if step.total is None else step.total - step.done
        words = {
            "stage": step.stage, "done": step.done, "total": step.total, "unit": step.unit,
            "share": None if not step.total else min(1.0, step.done / step.total),
            "frames_per_s": rate if step.unit == "frames" else None,
            "eta_s": None if left is None or not rate else left / rate,
        }  # fmt: skip
        try:
            self.cancelling = self.store.progress(self.claim, words, self.lease_s) or self.cancelling
        except LostLease:
            self.lost = True

    def warn(self, texts: Any) -> None:
        for text in texts:
            self.warnings.append(text)
            self.store.warn(self.claim, text)

    def renew(self) -> None:
        """Between two steps: hold on to the job."""
        try:
            self.cancelling = self.store.renew(self.claim, self.lease_s) or self.cancelling
        except LostLease:
            self.lost = True

    def stop(self) -> bool:
        """For the library: whether to end the run."""
        return self.cancelling or self.lost or self.halted()

    def check(self) -> None:
        """Raises: Stopped."""
        self.heard_at = time.monotonic()
        if self.stop():
            raise Stopped("stopped on request")
