"""A Ray cluster. The only module that knows Ray; the stages are the same."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from latentsync.core.errors import ConfigError
from latentsync.data.runners.base import DIED, Outcome, Plan, Step, Worker
from latentsync.data.stages.base import Resources

log = logging.getLogger(__name__)

_WAIT_S = 0.5
_RETRIES = 3

_workers: dict[str, Worker] = {}


class RayEngine:
    """Steps as Ray tasks: its scheduler places them by cores and shares of GPUs, and does those of a lost worker again.

    Every machine of the cluster must see the inputs and the output folder under the same paths.
    """

    def __init__(self, plan: Plan, num_workers: int, address: str | None = None) -> None:
        """Args: `address`: of a running cluster; None = a local one with `num_workers` cores, ended with this engine.

        Raises: ConfigError: Ray is not installed, or there is no cluster at this address.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine", "ray", 'not installed; run: pip install "latentsync[ray]"') from error
        self._ray = ray
        self._plan = plan
        self._owns = not ray.is_initialized()
        if self._owns:
            given: dict[str, Any] = {"num_cpus": num_workers} if address is None else {"address": address}
            try:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING, **given)
            except (ConnectionError, ValueError) as error:
                raise ConfigError("ray_address", address, f"no Ray cluster there ({error})") from error
        found = ray.cluster_resources()
        self._cores, self._has_gpus = max(int(found.get("CPU", 1)), 1), found.get("GPU", 0) > 0
        self._plan_ref = ray.put(plan)
        self._run_id = uuid.uuid4().hex
        self._do = ray.remote(_do)
        self._steps: dict[Any, Step] = {}

    @property
    def capacity(self) -> int:
        return 2 * self._cores

    def submit(self, step: Step, needs: Resources) -> None:
        gpus = needs.gpus if self._has_gpus else 0
        task = self._do.options(num_cpus=needs.cpus, num_gpus=gpus, max_retries=_RETRIES)
        self._steps[task.remote(self._run_id, self._plan_ref, step)] = step

    def finished(self) -> Sequence[tuple[Step, Outcome]]:
        done, _ = self._ray.wait(list(self._steps), num_returns=1, timeout=_WAIT_S)
        results = []
        for reference in done:
            step = self._steps.pop(reference)
            try:
                results.append((step, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError:
                raise  # our bug: `Worker.do` lets nothing through
            except self._ray.exceptions.RayError as error:
                name = self._plan.stages[step.stage].name
                detail = f"its worker died {_RETRIES + 1} times ({type(error).__name__}; out of memory?)"
                results.append((step, Outcome((step.clip.reject(name, DIED, detail=detail),))))
        return results

    def close(self) -> None:
        for reference in self._steps:
            self._ray.cancel(reference)
        self._steps.clear()
        if self._owns:
            self._ray.shutdown()


def _do(run_id: str, plan: Plan, step: Step) -> Outcome:
    """In a worker process, which serves many steps of a run and keeps its stages open."""
    if run_id not in _workers:
        for old in _workers.values():
            old.close()
        _workers.clear()
        _workers[run_id] = Worker(plan)
        from latentsync.data.runners.local import single_threaded

        single_threaded()
    return _workers[run_id].do(step)
