"""Worker processes are started, watched and started again; one that dies stops none of the others."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from latentsync.serve.settings import ServeConfig
from latentsync.serve.store import JobStore
from latentsync.serve.worker import name_of

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
"""A worker that is asked to end gets so long to put its job back."""
CALM_S = 30.0
"""A worker that lived so long did not die of its start."""


@dataclass
class _Child:
    number: int
    device: str | None
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    started_at: float = 0.0
    deaths: int = 0
    wait_until: float = field(default=0.0)


class Supervisor:
    """The worker processes of this machine, one for each device and count."""

    def __init__(self, config: ServeConfig, store: JobStore) -> None:
        self.config, self.store = config, store
        devices = [device for device in config.devices for _ in range(config.workers)]
        self.children = [_Child(number, device) for number, device in enumerate(devices)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        for child in self.children:
            self._spawn(child)
        self._thread.start()

    def stop(self) -> None:
        """Ask all to end, in order; their jobs go back into the queue. Those that do not are killed."""
        self._stopping.set()
        running = [child for child in self.children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.stdin is not None:
                child.process.stdin.close()
        deadline = time.monotonic() + PATIENCE_S
        for child in running:
            process = child.process
            if process is None:
                continue
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.store.forget_worker(child.name)

    def _spawn(self, child: _Child) -> None:
        child.name, child.started_at = name_of(child.number), time.monotonic()
        words = {
            "config": self.config.to_json(), "name": child.name, "device": child.device,
            "log_level": logging.getLevelName(logging.getLogger("latentsync").getEffectiveLevel()),
        }  # fmt: skip
        environment = dict(os.environ)
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        environment.setdefault("HF_HUB_VERBOSITY", "error")
        command = [sys.executable, "-m", "latentsync.serve.worker"]
        child.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        if child.process.stdin is not None:
            try:
                child.process.stdin.write(json.dumps(words).encode() + b"\n")
                child.process.stdin.flush()
            except BrokenPipeError:
                log.warning("worker %d ended at its start", child.number)

    def _watch(self) -> None:
        """Start again whoever ended: at once, after a death at the start ever later."""
        while not self._stopping.wait(0.2):
            for child in self.children:
                if child.process is not None and child.process.poll() is not None:
                    code = child.process.returncode
                    lived_s = time.monotonic() - child.started_at
                    child.deaths = 1 if lived_s > CALM_S else child.deaths + 1
                    child.wait_until = time.monotonic() + min(30.0, 0.1 * 2 ** (child.deaths - 1))
                    log.warning("worker %d ended (code %s); it is started again", child.number, code)
                    child.process = None
                    try:
                        self.store.forget_worker(child.name)
                    except Exception as error:  # the lease runs out by itself
                        log.warning("its job waits for its lease to run out (%s)", type(error).__name__)
                if child.process is None and time.monotonic() >= child.wait_until and not self._stopping.is_set():
                    self._spawn(child)
