"""What every engine shares: one step at its edge, and the order in which steps are handed out."""

from __future__ import annotations

import heapq
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.data.clip import Clip, Rejected
from latentsync.data.stages.base import Resources, Stage
from latentsync.data.workspace import Ledger, Workspace, is_disk_full, step_key

log = logging.getLogger(__name__)

INTERNAL = "internal_error"
DIED = "worker_died"
GONE = "source_gone"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a worker needs to know once: the stages, not opened, and where the output is."""

    stages: tuple[Stage, ...]
    workspace: Workspace


@dataclass(frozen=True, slots=True)
class Step:
    """One stage for one clip: all that is handed to a worker."""

    stage: int
    clip: Clip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Attributes:
        clips: those that go on and those that carry a reason why they do not.
        seconds: of work, also where `skipped` (then of the work done earlier).
        cpu_s: processor time of it, all threads of the worker; 0 where `skipped`.
        skipped: it was done before.
        fatal: a message for which the whole run ends: nothing is wrong with the clip.
    """

    clips: tuple[Clip, ...] = ()
    seconds: float = 0.0
    skipped: bool = False
    fatal: str | None = None
    cpu_s: float = 0.0


class Worker:
    """Does steps in one process; opens a stage when it first needs it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._ledger = plan, Ledger(plan.workspace)
        self._open: set[int] = set()

    def do(self, step: Step) -> Outcome:
        """Do a step or find it done. Never raises for what one clip brings about."""
        stage = self.plan.stages[step.stage]
        try:
            key = step_key(stage.name, stage.version, stage.settings, step.clip, stage.beside(step.clip))
            found = self._ledger.find(stage.name, key, step.clip.source)
            if found is not None:
                return Outcome(tuple(found[0]), found[1], skipped=True)
            if step.stage not in self._open:
                stage.open(self.plan.workspace)
                self._open.add(step.stage)
            begun, cpu = time.perf_counter(), time.process_time()
            clips = _as_clips(stage.process(step.clip), step.clip)
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
            self._ledger.store(stage.name, key, clips, seconds)
            return Outcome(tuple(clips), seconds, cpu_s=cpu)
        except (ConfigError, WeightsError) as error:
            return Outcome(fatal=str(error))
        except LatentSyncError as error:
            if is_disk_full(error):
                return Outcome(fatal=self._full())
            if not os.access(step.clip.source.path, os.R_OK):  # not stored: it may come back
                return Outcome((step.clip.reject(stage.name, GONE, detail=str(error)),))
            no = step.clip.reject(stage.name, "unreadable" if step.stage == 0 else "cannot_process", detail=str(error))
            self._ledger.store(stage.name, key, [no], 0.0)
            return Outcome((no,))
        except Exception as error:  # the edge: one bad file never stops the run; not stored, so it is tried again
            if is_disk_full(error):
                return Outcome(fatal=self._full())
            trace = traceback.format_exc()
            log.error("%s, %s: %s", step.clip.source.name, stage.name, trace)
            return Outcome((step.clip.reject(stage.name, INTERNAL, detail=trace),))

    def close(self) -> None:
        """Close the stages that were opened."""
        for index in self._open:
            self.plan.stages[index].close()
        self._open.clear()

    def _full(self) -> str:
        root = self.plan.workspace.root
        return f"{root}: the disk is full. Free some space and run the same command again: it goes on where it stopped."


def _as_clips(result: list[Clip] | Rejected, clip: Clip) -> list[Clip]:
    return [replace(clip, rejected=result)] if isinstance(result, Rejected) else result


class Engine(Protocol):
    """Does steps somewhere, some at a time."""

    @property
    def capacity(self) -> int:
        """Steps that may be under way or waiting in it: the back-pressure."""
        ...

    def submit(self, step: Step, needs: Resources) -> None: ...

    def finished(self) -> Sequence[tuple[Step, Outcome]]:
        """Wait for at least one step, or a moment, and hand over what is done."""
        ...

    def close(self) -> None:
        """Let running steps end or be cut off, and let go of the workers."""
        ...


@dataclass
class Tally:
    """What a run did: seconds of work, of processor time, and frames by stage, steps done and found done."""

    seconds: Counter[str] = field(default_factory=Counter)
    cpu_s: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0


def drive(
    plan: Plan,
    clips: Iterable[Clip],
    engine: Engine,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> tuple[list[Clip], Tally]:
    """Take every clip through all stages. Later stages go first, so finished clips come early and little waits.

    Returns: every clip at its end: written, or with the reason why not; and what was done.
    Raises: LatentSyncError: the run cannot go on. Stopped: on request; what is done stays done.
    """
    begun, tally, ended = time.perf_counter(), Tally(), []
    waiting: list[tuple[int, int, Step]] = []
    number, under_way = 0, 0
    open_steps: Counter[str] = Counter()

    def add(step: Step) -> None:
        nonlocal number
        heapq.heappush(waiting, (-step.stage, number, step))
        number += 1
        open_steps[step.clip.source.name] += 1

    for clip in clips:
        add(Step(0, clip))
    total, seen_done = len(open_steps), 0
    try:
        while waiting or under_way:
            check(stop)
            while waiting and under_way < engine.capacity:
                step = heapq.heappop(waiting)[2]
                engine.submit(step, plan.stages[step.stage].needs)
                under_way += 1
            for step, outcome in engine.finished():
                under_way -= 1
                if outcome.fatal is not None:
                    raise LatentSyncError(outcome.fatal)
                _count(tally, plan.stages[step.stage].name, step, outcome)
                for clip in outcome.clips:
                    if clip.rejected is not None or step.stage + 1 == len(plan.stages):
                        ended.append(clip)
                    else:
                        add(Step(step.stage + 1, clip))
                open_steps[step.clip.source.name] -= 1
                if not open_steps[step.clip.source.name]:
                    seen_done += 1
                    progress(Progress("sources", seen_done, total, "files"))
    finally:
        engine.close()
    tally.wall_s = time.perf_counter() - begun
    return ended, tally


def _count(tally: Tally, name: str, step: Step, outcome: Outcome) -> None:
    if outcome.skipped:
        tally.skipped[name] += 1
        return
    given = (int(clip.facts.get("source_frames") or 0) for clip in outcome.clips)
    frames = step.clip.num_frames or max(given, default=0)
    tally.done[name] += 1
    tally.seconds[name] += outcome.seconds  # type: ignore[assignment]
    tally.cpu_s[name] += outcome.cpu_s  # type: ignore[assignment]
    tally.frames[name] += frames


class SerialEngine:
    """Every step in this process, one after the other: for looking inside, and as the measure for the others."""

    capacity = 1

    def __init__(self, plan: Plan) -> None:
        self._worker = Worker(plan)
        self._done: list[tuple[Step, Outcome]] = []

    def submit(self, step: Step, needs: Resources) -> None:
        self._done.append((step, self._worker.do(step)))

    def finished(self) -> Sequence[tuple[Step, Outcome]]:
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        self._worker.close()
