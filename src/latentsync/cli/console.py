"""What a running command shows: a progress line per stage on stderr, log lines above it, Ctrl-C as a stop flag."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from latentsync.cli import events
from latentsync.core.errors import LatentSyncError
from latentsync.core.files import without_temporary
from latentsync.core.progress import Progress as Step
from latentsync.core.progress import ProgressCallback, StopFlag

PLAIN_EVERY_S = 10.0
"""Between two progress lines where stderr is a file or a pipe; chosen by eye on a build log."""


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def logging_to(console: Console, quiet: bool, verbose: bool) -> Iterator[None]:
    """Send our log to `console`: warnings only when quiet, everything when verbose, with the place of a user's error.

    Undone on leaving.
    """
    ours = logging.getLogger("latentsync")
    handler, level = _ConsoleHandler(console), ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    except (LatentSyncError, OSError) as error:
        ours.debug("where it happened:", exc_info=error)
        raise
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


class _ConsoleHandler(logging.Handler):
    """Prints what is logged; the same warning once, however often a file is read."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._warned: set[str] = set()
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        text = prefix + without_temporary(self.format(record))
        if prefix and text in self._warned:
            return
        if prefix:
            self._warned.add(text)
        if events.wanted():
            events.emit("log", level=record.levelname.lower(), text=text.removeprefix(prefix))
            return
        self.console.print(text, markup=False, style="dim" if not prefix else "yellow")


STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The last one says that the terminal was closed; Windows has none."""


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """The first Ctrl-C (or SIGTERM, or SIGHUP) raises the stop flag, so that work ends in order; a second one ends it
    at once. A second SIGHUP does not: shell and system may both send one. Under nohup none is heard."""
    asked = threading.Event()
    hang_up = getattr(signal, "SIGHUP", None)

    def on_signal(number: int, _frame: Any) -> None:
        if asked.is_set() and number != hang_up:
            raise KeyboardInterrupt
        if not asked.is_set():
            asked.set()
            with suppress(OSError):  # the terminal may be gone
                os.write(2, b"\nstopping after this step; press Ctrl-C again to stop at once\n")

    audio_features = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in audio_features}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_quietly_on_signal(code: int) -> None:
    """From now on a signal ends the process at once with `code`: for a program that was stopped, has tidied up, and
    waits only for its threads. Python would print a traceback of its own shutdown."""
    if threading.current_thread() is threading.main_thread():
        with suppress(OSError):
            sys.stdout.flush()
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda _number, _frame: os._exit(code))


@contextmanager
def progress_on(console: Console, quiet: bool) -> Iterator[ProgressCallback]:
    """A callback that draws: live bars on a terminal, a line now and then in a log, nothing when quiet; with `--events`
    JSON lines."""
    if events.wanted():
        yield events.Lines().show
    elif quiet:
        yield lambda _step: None
    elif not console.is_terminal:
        yield _Lines(console).show
    else:
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            _Memory(),
        )
        with Progress(*columns, console=console, transient=False) as bars:
            yield _Bars(bars).show


class _Bars:
    """One Rich task per stage, made when the stage is first heard of."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, Any] = {}
        self.lock = threading.Lock()

    def show(self, step: Step) -> None:
        with self.lock:
            if step.stage not in self.tasks:
                self.tasks[step.stage] = self.bars.add_task(step.stage, total=step.total, count="", unit=step.unit)
            self.bars.update(self.tasks[step.stage], completed=step.done, total=step.total, count=_count(step))


class _Rate(ProgressColumn):
    """Units per second, averaged over the last half minute by Rich."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {task.fields['unit']}/s", style="cyan")


class _Memory(ProgressColumn):
    """Memory of this process, as long as the stage runs."""

    def render(self, task: Task) -> Text:
        held = None if task.finished else events.memory_gib()
        return Text("" if held is None else f"{held:.1f} GiB", style="dim")


@dataclass
class _Lines:
    """Progress for a log file: a line every few seconds and one at each stage's end."""

    console: Console
    begun: dict[str, float] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def show(self, step: Step) -> None:
        now = time.monotonic()
        elapsed_s = now - self.begun.setdefault(step.stage, now)
        due = now - self.shown.setdefault(step.stage, now) >= PLAIN_EVERY_S
        at_end = step.total is not None and step.done >= step.total
        if step.stage in self.finished or not (due or at_end):
            return
        self.shown[step.stage] = now
        if at_end:
            self.finished.add(step.stage)
        rate = f", {step.done / elapsed_s:.1f} {step.unit}/s" if elapsed_s > 0.05 else ""
        left = ""
        if step.total is not None and step.done and not at_end:
            left = f", about {elapsed_s / step.done * (step.total - step.done):.0f} s left"
        self.console.print(f"{step.stage}: {_count(step)}{rate}{left}", markup=False)


def _count(step: Step) -> str:
    return f"{step.done}/{'?' if step.total is None else step.total} {step.unit}"


def plain(value: Any) -> Any:
    """`value` as JSON holds it: paths as text, exact rates as numbers. Raises: TypeError: anything else."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
