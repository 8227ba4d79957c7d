"""A worker process: takes jobs one after the other until its parent is gone. `python -m latentsync.serve.worker`

Its settings come as the first line on stdin, so that no password stands on a command line; the end of stdin says that
the parent has ended, however it did.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError, OperationalError

from latentsync.serve.files import Files
from latentsync.serve.running import Halted, Runner, Told
from latentsync.serve.settings import ServeConfig
from latentsync.serve.store import Claim, JobStore, LostLease
from latentsync.serve.tables import connect

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""Between two looks into an empty queue."""
SILENT_S = 3600.0
"""A run that says nothing for so long hangs: a chunk of the largest model on a slow processor takes half of it."""


class Worker:
    """Claims and runs jobs on one device until `halted`."""

    def __init__(self, config: ServeConfig, name: str, device: str | None, halted: Callable[[], bool]) -> None:
        engine = connect(config.database_url)
        self.config, self.name, self.device, self.halted = config, name, device, halted
        self.store, self.files = JobStore(engine), Files(engine, config)
        self.runner = Runner(config, self.store, self.files, device, halted)
        self._told: Told | None = None

    def run_forever(self) -> None:
        """Return when `halted` says so and the job at hand is back in the queue."""
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        while not self.halted():
            try:
                claim = self.store.claim(self.name, self.config.lease_s, self.config.most_tries)
                if claim is None:
                    time.sleep(IDLE_S)
                else:
                    self.work(claim)
            except (OperationalError, DBAPIError) as error:  # the database is away or its disk is full: wait for it
                log.warning("the job table cannot be used now (%s)", type(error.orig).__name__)
                time.sleep(2)
        self.store.forget_worker(self.name)

    def work(self, claim: Claim) -> None:
        """Run one job; a job that was taken away is dropped, one that is broken off goes back."""
        log.info("job %s, try %d", claim.job["id"], claim.attempt)
        self._told = told = Told(self.store, claim, self.config.lease_s, self.halted)
        try:
            self.runner.run(claim, told)
        except LostLease:
            log.warning("job %s is another worker's now; what was made here is dropped", claim.job["id"])
        except Halted:
            self.store.put_back(claim)
        finally:
            self._told = None

    def _beat(self) -> None:
        """Sign of life, and the lease of the job at hand, from a thread: loading a model says nothing for long."""
        while True:
            try:
                self.store.seen(self.name, self.device or "default")
                told = self._told
                if told is not None and time.monotonic() - told.heard_at < SILENT_S:
                    told.renew()
            except (OperationalError, DBAPIError):
                log.debug("no sign of life could be written")
            time.sleep(self.config.lease_s / 5)


def name_of(number: int) -> str:
    """A worker's name, never used twice."""
    return f"{socket.gethostname()}:{os.getpid()}:{number}:{time.time_ns() // 10**6}"


def main() -> None:
    """Entry point of the process."""
    given = json.loads(sys.stdin.readline())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s worker %(levelname)s %(message)s")
    logging.getLogger("latentsync").setLevel(given["log_level"])
    asked = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent decides
    signal.signal(signal.SIGTERM, lambda *_: asked.set())

    def watch() -> None:
        sys.stdin.read()
        asked.set()

    threading.Thread(target=watch, daemon=True).start()
    config = ServeConfig.from_json(given["config"])
    Worker(config, given["name"], given["device"], asked.is_set).run_forever()


if __name__ == "__main__":
    main()
