"""Workers as actors on a Ray cluster, each with its share of a GPU; one that dies is started again."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from latentsync.core.errors import ConfigError, MissingExtraError
from latentsync.serve.settings import ServeConfig
from latentsync.serve.store import JobStore

log = logging.getLogger(__name__)


def work(config: str, name: str, device: str | None, log_level: str) -> None:
    """What an actor does until it is asked to end: see `worker.Worker`."""
    from latentsync.serve.worker import Worker

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("latentsync").setLevel(log_level)
    Worker(ServeConfig.from_json(config), name, device, _ended.is_set).run_forever()


_ended = threading.Event()  # of the actor's own process


class _Actor:
    """Ray calls its methods in threads of one process."""

    def work(self, config: str, name: str, device: str | None, log_level: str) -> None:
        work(config, name, device, log_level)

    def end(self) -> None:
        _ended.set()

    def process(self) -> int:
        import os

        return os.getpid()


class RayEngine:
    """So many workers on a cluster. The job table and the data folder have to be reached from every machine."""

    def __init__(self, config: ServeConfig, store: JobStore) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError("ray", "ray") from error
        if config.ray_address is not None and config.database_url.startswith("sqlite"):
            fix = "pass --database postgresql://… : machines of a cluster cannot share an SQLite file"
            raise ConfigError("ray_address", config.ray_address, fix)
        self.ray: Any = ray
        self.config, self.store = config, store
        self._stopping = threading.Event()
        self._actors: dict[int, tuple[str, Any, Any]] = {}
        self._thread = threading.Thread(target=self._watch, name="ray", daemon=True)
        self._is_ours = False

    def start(self) -> None:
        """Begin; the cluster and its actors come up in a thread, while the service answers already."""
        self._thread.start()

    def _connect(self) -> None:
        import latentsync

        if not self.ray.is_initialized():
            source = str(Path(latentsync.__file__).parents[1])
            given: dict[str, Any] = {"address": self.config.ray_address}
            if self.config.ray_address is None:
                number = max(1, self.config.workers * len(self.config.devices))
                given = {"num_cpus": number, "runtime_env": {"env_vars": {"PYTHONPATH": source}}}
            self.ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False, **given)
            self._is_ours = True
        for number in range(self.config.workers * len(self.config.devices)):
            self._spawn(number)

    def _spawn(self, number: int) -> None:
        from latentsync.serve.worker import name_of

        device = self.config.devices[number // max(1, self.config.workers)]
        kind = self.ray.remote(num_cpus=1, num_gpus=self.config.ray_gpus, max_concurrency=3, max_restarts=0)(_Actor)
        actor = kind.remote()
        name = f"{name_of(number)}:{self.ray.get(actor.process.remote())}"
        level = logging.getLevelName(logging.getLogger("latentsync").getEffectiveLevel())
        config = self.config.to_json()
        self._actors[number] = name, actor, actor.work.remote(config, name, device, level)

    def _watch(self) -> None:
        """Start all, and again whoever ended."""
        while not self._actors and not self._stopping.is_set():
            try:
                self._connect()
            except Exception as error:  # the edge of a thread: a cluster may come up later than we
                log.warning("the Ray cluster does not answer (%s); trying again", str(error).partition(".")[0])
                self._stopping.wait(5)
        while not self._stopping.wait(0.5):
            for number, (name, _, running) in list(self._actors.items()):
                ended, _ = self.ray.wait([running], timeout=0)
                if not ended or self._stopping.is_set():
                    continue
                try:
                    self.ray.get(running)
                    reason = "by itself"
                except self.ray.exceptions.RayError as error:
                    reason = type(error).__name__
                log.warning("worker %d ended (%s); it is started again", number, reason)
                self.store.forget_worker(name)
                self._spawn(number)

    def stop(self) -> None:
        """Ask all to end; their jobs go back into the queue."""
        self._stopping.set()
        self._thread.join(30)
        running = []
        for _, actor, work_ref in self._actors.values():
            actor.end.remote()
            running.append(work_ref)
        if running:
            self.ray.wait(running, num_returns=len(running), timeout=20)
        for name, actor, _ in self._actors.values():
            self.ray.kill(actor)
            self.store.forget_worker(name)
        if self._is_ours:
            self.ray.shutdown()
