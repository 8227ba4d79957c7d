"""What makes a run the same run: its task, settings and data. A state of another one is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentsync.config import renamed
from latentsync.core.errors import LatentSyncError
from latentsync.training.engine.checkpoint import differences
from latentsync.training.engine.config import TrainConfig

log = logging.getLogger(__name__)

FREE = frozenset(
    f"loop.{name}"
    for name in (
        "steps", "minutes", "accumulation", "gradient_checkpointing", "unused_parameters", "save_every_s",
        "keep_states", "snapshot_every", "max_rollbacks", "validate_every", "validate_every_s", "log_every",
        "tensorboard", "workers",
    )
) | {"settings.start"}  # fmt: skip
"""Settings that a run may change when it goes on: they do not touch what is computed, or only how far."""


SHOWN = 8
"""Differences that a message tells."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Args: settings: of the task; data: what tells the data from others."""

    task: str
    loop: TrainConfig
    settings: Mapping[str, Any]
    data: Mapping[str, Any]

    def described(self) -> dict[str, Any]:
        """As JSON holds it."""
        tree = {"task": self.task, "loop": asdict(self.loop), "settings": self.settings, "data": self.data}
        return json.loads(json.dumps(tree, default=str))

    def compare(self, stored: Mapping[str, Any], out: Path, accept_changes: bool) -> None:
        """Raises: LatentSyncError: the run in `out` is another one, unless that is accepted (and logged); a run of
        another task always."""
        stored = _under_todays_names(stored)
        if stored.get("task") != self.task:
            raise LatentSyncError(f"{out}: holds a run of {stored.get('task')}. Choose another --out for {self.task}.")
        found = differences(self.described(), stored, FREE)
        if not found:
            return
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        said = f"{out}: holds the state of another run: {'; '.join(found[:SHOWN])}{more}"
        if not accept_changes:
            raise LatentSyncError(f"{said}. Choose another --out, or pass --accept-changes to go on all the same.")
        log.warning("%s; going on all the same", said)


def _under_todays_names(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    task, settings = stored.get("task"), stored.get("settings")
    if isinstance(task, str):
        stored = {**stored, "task": renamed.TASKS.get(task, task)}
    if isinstance(settings, Mapping):
        stored = {**stored, "settings": renamed.task_settings(settings)}
    return stored
