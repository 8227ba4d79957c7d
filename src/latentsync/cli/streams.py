"""stdin, stdout and stderr as they are given: closed, of ASCII only, or on a full disk."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """Make the three streams such that no message ends a run.

    Closed ones lead to the null device: else the next file that is opened, e.g. the film, gets the number of stderr,
    and native libraries write their messages into it. Letters that a stream's encoding lacks are written escaped. What
    stderr cannot take (`2>/dev/full`) is lost; stdout holds results, so that a write to it that fails is an error.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper) and _is_number(sys.stderr, 2):
        encoding, lines = sys.stderr.encoding, sys.stderr.line_buffering
        raw = io.BufferedWriter(_Lossy(2, "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines, write_through=True)


def _is_number(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False


class _Lossy(io.FileIO):
    """A file that takes everything; what the system refuses is lost."""

    def write(self, data: object) -> int:  # type: ignore[override]
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        try:
            return super().write(data) or size  # type: ignore[arg-type]
        except OSError:
            return size


def flush_results() -> None:
    """Write out what stdout still holds. Raises: OSError: it cannot be written; stdout is the null device then, so that
    Python does not try and complain once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        give_up_stdout()
        raise


def give_up_stdout() -> None:
    """From now on stdout is the null device."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
