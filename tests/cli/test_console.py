"""Progress, log lines and Ctrl-C."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from latentsync.cli.console import logging_to, plain, progress_on, stop_on_signal
from latentsync.core.errors import MediaError
from latentsync.core.files import temporary_folder
from latentsync.core.progress import Progress


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=120, highlight=False), written


def test_a_terminal_shows_stage_count_and_rate() -> None:
    to, written = console(terminal=True)
    with progress_on(to, quiet=False) as show:
        for done in range(0, 41, 10):
            show(Progress("lips", done, 40))
        show(Progress("faces", 3, None, "looks"))
    shown = written.getvalue()
    assert "lips" in shown
    assert "40/40 frames" in shown
    assert "frames/s" in shown
    assert "3/? looks" in shown


def test_a_log_file_gets_one_line_a_finished_stage_and_no_control_codes() -> None:
    to, written = console()
    with progress_on(to, quiet=False) as show:
        for done in range(0, 41):
            show(Progress("lips", done, 40))
        show(Progress("lips", 40, 40))
    lines = written.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("lips: 40/40 frames")
    assert "\x1b" not in lines[0]


def test_quiet_shows_no_progress() -> None:
    to, written = console()
    with progress_on(to, quiet=True) as show:
        show(Progress("lips", 40, 40))
    assert written.getvalue() == ""


def test_progress_may_come_from_several_threads() -> None:
    to, written = console(terminal=True)
    with progress_on(to, quiet=False) as show:
        work = [
            threading.Thread(target=lambda s=stage: [show(Progress(s, n, 50)) for n in range(51)]) for stage in "abcd"
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert written.getvalue().rsplit("a ", 1)[1].count("50/50 frames") == 4


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [
        (False, False, ["info", "warning: warn"]),
        (True, False, ["warning: warn"]),
        (False, True, ["debug", "info", "warning: warn"]),
    ],
)
def test_log_levels(quiet: bool, verbose: bool, shown: list[str]) -> None:
    to, written = console()
    log = logging.getLogger("latentsync.somewhere")
    with logging_to(to, quiet, verbose):
        log.debug("debug")
        log.info("info")
        log.warning("warn")
    log.warning("after")
    assert written.getvalue().splitlines() == shown


def test_files_of_our_temporary_folders_are_told_by_their_names() -> None:
    to, written = console()
    with temporary_folder() as folder, logging_to(to, quiet=False, verbose=False):
        logging.getLogger("latentsync.media").info("%s: 60 frames", folder / "anna-shifted.mp4")
    assert written.getvalue() == "anna-shifted.mp4: 60 frames\n"
    assert not folder.exists()


def test_the_same_warning_is_printed_once() -> None:
    page = io.StringIO()
    with logging_to(Console(file=page, width=200), quiet=False, verbose=False):
        for _ in range(3):
            logging.getLogger("latentsync.media").warning("a.mpg: damaged")
            logging.getLogger("latentsync.media").info("step")
        logging.getLogger("latentsync.media").warning("b.mpg: damaged")
    assert page.getvalue().splitlines() == [
        "warning: a.mpg: damaged",
        "step",
        "step",
        "step",
        "warning: b.mpg: damaged",
    ]


def test_verbose_tells_where_a_users_error_happened() -> None:
    to, written = console()
    with pytest.raises(MediaError), logging_to(to, quiet=False, verbose=True):
        raise MediaError("a.mp4: broken")
    assert "test_console.py" in written.getvalue()


def test_the_first_signal_asks_and_the_second_insists(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_asks_and_does_not_insist() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop()
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


WAITING = """
import sys, threading, time
from latentsync.cli import main

def stopped(**_: object) -> None:
    threading.Thread(target=time.sleep, args=(20,)).start()  # Python waits for it at its end
    threading.Thread(target=lambda: (time.sleep(0.5), print("waiting", flush=True)), daemon=True).start()
    sys.exit(main.STOPPED)

main.app = stopped
main.main([])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
def test_ctrl_c_while_python_waits_for_threads_is_quiet() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"waiting\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=15)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, b"")


def test_results_become_json() -> None:
    result = {
        "path": Path("a b.mp4"),
        "fps": Fraction(30000, 1001),
        "whole": Fraction(25),
        "n": np.int64(3),
        "s": (1, 2),
    }
    again = json.loads(json.dumps(result, default=plain))
    assert again == {"path": "a b.mp4", "fps": 30000 / 1001, "whole": 25, "n": 3, "s": [1, 2]}
    with pytest.raises(TypeError):
        json.dumps({"what": object()}, default=plain)
