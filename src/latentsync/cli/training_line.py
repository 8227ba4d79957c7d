"""How a training run looks on the console: one live line, or plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from latentsync.cli.console import PLAIN_EVERY_S

if TYPE_CHECKING:
    from latentsync.training.engine.events import Event, Moment


@contextmanager
def training_line(console: Console, quiet: bool, score: str) -> Iterator[Callable[[Event], None]]:
    """A watcher that draws a run: a live line on a terminal, a line every few seconds elsewhere, nothing when quiet.

    Args: score: name of the figure by which the task is judged.
    """
    if quiet:
        yield lambda _event: None
    elif console.is_terminal:
        with Live(Text(""), console=console, refresh_per_second=4, transient=True) as live:
            yield _Line(console, score, live).show
    else:
        yield _Line(console, score, None).show


class _Line:
    def __init__(self, console: Console, score: str, live: Live | None) -> None:
        self.console, self.score, self.live = console, score, live
        self.began: tuple[float, float] | None = None
        self.given_s = float("-inf")

    def show(self, event: Event) -> None:
        from latentsync.training.engine.events import Began, Measured, Validated

        if isinstance(event, Began):
            self.began = (time.monotonic(), event.at.share)
            where = "" if event.state is None else f", going on from {event.state}"
            many = "" if event.processes == 1 else f" × {event.processes} processes"
            self._say(f"{event.num_parameters / 1e6:.2f} M parameters on {event.device}{many}{where}")
        elif isinstance(event, Measured):
            figures = event.figures
            terms = " ".join(
                f"{name.removeprefix('loss/')} {value:.4g}"
                for name, value in figures.items()
                if name.startswith("loss")
            )
            rest = f"rate {figures['rate']:.2g} · {figures['examples_per_s']:.1f} examples/s"
            self._draw(f"{self._where(event.at)} · {terms} · {rest}")
        elif isinstance(event, Validated):
            best = " (best)" if event.is_best else ""
            given = " ".join(f"{name} {value:.4g}" for name, value in event.validation_result.figures.items())
            self._say(f"step {event.at.step}: {given}{best}")

    def _where(self, at: Moment) -> str:
        text = f"step {at.step} · {at.share:4.0%}"
        if self.began is not None and at.share > self.began[1]:
            begun_s, share = self.began
            left_s = (time.monotonic() - begun_s) / (at.share - share) * (1 - at.share)
            text += f" · {left_s / 60:.0f} min left" if left_s >= 90 else f" · {left_s:.0f} s left"
        return text

    def _draw(self, text: str) -> None:
        if self.live is not None:
            self.live.update(Text(text, no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self.given_s >= PLAIN_EVERY_S:
            self.given_s = time.monotonic()
            self._say(text)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)
