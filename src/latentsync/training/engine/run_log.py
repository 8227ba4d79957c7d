"""The log of a run on disk: `log.jsonl`, TensorBoard where it is installed, pictures and clips of validations."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from latentsync.core.files import atomic_path
from latentsync.core.values import Frame
from latentsync.training.engine.events import Began, Event, Measured, Moment, RolledBack, Saved, Validated

log = logging.getLogger(__name__)

CLIP_FPS = Fraction(25)


class RunLog:
    """Writes every event of a run. A context manager; a watcher (call it with events).

    Lines of steps after the state from which a run goes on are taken out: the log reads as if never stopped.

    Args:
        out: the run's folder.
        tensorboard: also write `out/tensorboard`.
    """

    def __init__(self, out: Path, tensorboard: bool = True) -> None:
        self.path, self.out, self._wants_board = out / "log.jsonl", out, tensorboard
        self._board: Any = None

    def __enter__(self) -> RunLog:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __call__(self, event: Event) -> None:
        match event:
            case Began(at=at):
                self._rewind(at.step)
                self._board = _board(self.out / "tensorboard", at.step) if self._wants_board else None
                where = None if event.state is None else event.state.name
                self._line("began", at, {"from": where, "processes": event.processes, "device": event.device})
            case Measured(at=at, figures=figures):
                self._line("measured", at, figures)
                self._plot(figures, at.step)
            case Validated(at=at, validation_result=validation_result):
                given: dict[str, Any] = {
                    **validation_result.figures,
                    "best": event.is_best,
                    "time/validation_s": round(event.seconds, 3),
                }
                if validation_result.warnings:
                    given["warnings"] = list(validation_result.warnings)
                self._line("judged", at, given)
                self._plot(validation_result.figures, at.step)
                self._pictures(event)
            case RolledBack(at=at):
                given = {"failed_step": event.failed_step, "reason": event.reason, "rate_scale": event.rate_scale}
                self._line("rolled_back", at, given)
            case Saved(at=at):
                self._line("saved", at, {"state": event.path.name, "time/save_s": round(event.seconds, 3)})

    def _line(self, kind: str, at: Moment, more: Mapping[str, Any]) -> None:
        line = {"event": kind, "step": at.step, "minutes": round(at.spent_s / 60, 3)}
        line |= {key: _plain(value) for key, value in more.items()}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def _plot(self, figures: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name if "/" in name else f"train/{name}", value, step)

    def _pictures(self, event: Validated) -> None:
        from latentsync.metrics.strips import save_png

        found = event.validation_result
        if not found.pictures and not found.clips:
            return
        folder = self.out / "pictures" / f"step-{event.at.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in found.pictures.items():
            save_png(folder / f"{_file_name(name)}.png", picture)
            if self._board is not None:
                self._board.add_image(name, picture, event.at.step, dataformats="HWC")
        for name, frames in found.clips.items():
            write_clip(folder / f"{_file_name(name)}.mp4", frames)

    def _rewind(self, step: int) -> None:
        """Take out the lines after a step, and a last line that was cut off."""
        kept = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                continue
        self._file.close()
        with atomic_path(self.path) as part:
            part.write_text("".join(kept), "utf-8")
        self._file = self.path.open("a", encoding="utf-8")


def write_clip(path: Path, frames: np.ndarray) -> None:
    """Write (F, H, W, 3) uint8 RGB at 25 fps."""
    from latentsync.media import RgbPicture, VideoInfo, VideoWriter

    _, height, width, _ = frames.shape
    with VideoWriter(path, like=VideoInfo(width=width, height=height, fps=CLIP_FPS)) as writer:
        for index, frame in enumerate(frames):
            writer.write(Frame(index, index / CLIP_FPS, RgbPicture(np.ascontiguousarray(frame))))


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard files: it is not installed (pip install 'latentsync[train]')")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
