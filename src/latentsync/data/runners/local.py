"""A pool of processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from latentsync.data.runners.base import DIED, Outcome, Plan, Step, Worker
from latentsync.data.stages.base import Resources

log = logging.getLogger(__name__)

_WAIT_S = 0.5
_WATCH_S = 1.0

_worker: Worker | None = None


class LocalEngine:
    """Steps in `num_workers` processes. A worker that dies (out of memory, a crash in a library) is replaced.

    The steps that were under way are then done again one at a time, and one that brings its worker down again is
    rejected with the reason `worker_died`; no other step is lost.
    """

    def __init__(self, plan: Plan, num_workers: int) -> None:
        self._plan, self._num_workers = plan, num_workers
        self._futures: dict[Future[Outcome], Step] = {}
        self._suspects: list[Step] = []
        self._pool = self._make()

    @property
    def capacity(self) -> int:
        return 2 * self._num_workers

    def submit(self, step: Step, needs: Resources) -> None:
        try:
            self._futures[self._pool.submit(_do, step)] = step
        except BrokenProcessPool:
            self._replace([step])

    def finished(self) -> Sequence[tuple[Step, Outcome]]:
        if self._suspects and not self._futures:
            return [self._alone(self._suspects.pop(0))]
        done, _ = wait(self._futures, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
        results, broken = [], []
        for future in done:
            step = self._futures.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                broken.append(step)
            else:
                results.append((step, future.result()))
        if broken:
            self._replace(broken)
        return results

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # forking a process with threads is not safe
        return ProcessPoolExecutor(
            self._num_workers, context, initializer=_begin, initargs=(self._plan, os.getpid(), list(sys.path))
        )

    def _replace(self, broken: list[Step]) -> None:
        log.warning("a worker process died; its work is done again")
        wait(self._futures)
        for future in list(self._futures):
            step = self._futures.pop(future)
            broken.append(step)  # what the dying pool finished is found done
        self._suspects += broken
        self._pool.shutdown(wait=True)
        self._pool = self._make()

    def _alone(self, step: Step) -> tuple[Step, Outcome]:
        future = self._pool.submit(_do, step)
        try:
            return step, future.result()
        except BrokenProcessPool:
            self._pool.shutdown(wait=True)
            self._pool = self._make()
            name = self._plan.stages[step.stage].name
            detail = "the process working on it died, twice (out of memory?)"
            return step, Outcome((step.clip.reject(name, DIED, detail=detail),))


def _begin(plan: Plan, parent: int, path: list[str]) -> None:
    global _worker
    sys.path[:] = path
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    single_threaded()
    _worker = Worker(plan)


def _leave_with(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


def single_threaded() -> None:
    """One process a core is the parallelism: libraries that start threads of their own would fight for it."""
    import cv2

    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # for what is imported later, as PyTorch is
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _do(step: Step) -> Outcome:
    if _worker is None:
        raise RuntimeError("this worker was not begun")
    return _worker.do(step)
