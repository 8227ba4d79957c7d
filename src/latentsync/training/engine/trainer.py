"""The loop: examples → objectives → a sound step → averaged weights; logged, judged, saved, carried on when killed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentsync import __version__
from latentsync.core.errors import LatentSyncError
from latentsync.core.files import atomic_path
from latentsync.core.progress import StopFlag, never
from latentsync.training.engine import checkpoint
from latentsync.training.engine import distributed as parallel
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.events import Began, Measured, Moment, RolledBack, Saved, Validated, Watcher
from latentsync.training.engine.examples import Share, batches, explain_lost_loader, next_part
from latentsync.training.engine.export import export_component, forget_run, replace_files
from latentsync.training.engine.health import only_gradients, what_is_wrong
from latentsync.training.engine.objectives import TrainedObjective
from latentsync.training.engine.outcome import Outcome
from latentsync.training.engine.preflight import check_space
from latentsync.training.engine.randomness import caller_keeps_randomness, seed_all
from latentsync.training.engine.run_identity import Identity
from latentsync.training.engine.run_log import RunLog
from latentsync.training.engine.run_state import RunState
from latentsync.training.engine.schedule import done_share, rate_share
from latentsync.training.engine.task import Task

log = logging.getLogger(__name__)


LARGEST_IN_MEMORY = 2**30
"""Bytes of a state that is still copied in memory to roll back to; larger ones are read from disk."""


class Trainer:
    """Train a task in a folder, or go on with the run that is there.

        outcome = Trainer(task, TrainConfig(steps=1000), Path("runs/unet")).run()

    Works in one process and in those of `accelerate launch` alike. The folder must be shared by all machines.

    Args:
        task: what is trained.
        config: how.
        out: folder of the run; see docs/training.md for its files.
        settings: the task's settings, stored with every state; a run with others is refused.
        data: identity of the data, stored and compared likewise.
        watchers: called with every event, in the first process alone.
        stop: asked after every step; the run saves its state and ends.
        accept_changes: go on although settings or data differ from those of the state.
        fresh: start anew, deleting the run that is in the folder.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        out: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        watchers: Sequence[Watcher] = (),
        stop: StopFlag = never,
        accept_changes: bool = False,
        fresh: bool = False,
    ) -> None:
        self.task, self.config, self.out = task, config, out
        self.stop, self.accept_changes, self.fresh = stop, accept_changes, fresh
        self.watchers = list(watchers)
        self.at = RunState()
        self.last_score: float | None = None
        self.identity = Identity(task=task.name, loop=config, settings=settings or {}, data=data or {})
        self._snapshot: tuple[list[checkpoint.Groups], dict[str, Any]] | None = None

    def run(self) -> Outcome:
        """Train to the end of the run, or until stopped.

        Raises:
            LatentSyncError: another run is at work in the folder, or the folder holds another one's state; the disk
                is too small or runs full; a loader process was killed; rolled back too often.
            ConfigError: the settings do not fit the network, the device or the number of processes.
        """
        with (
            checkpoint.explain_full_disk(self.out),
            explain_lost_loader(),
            caller_keeps_randomness(),
            ExitStack() as stack,
        ):
            self.accelerator = parallel.start(self.config)
            self.is_first = self.accelerator.is_main_process
            stack.enter_context(parallel.claimed(self.accelerator, self.out))
            if self.is_first:
                if self.fresh:
                    forget_run(self.out)
                self.watchers.insert(0, stack.enter_context(RunLog(self.out, self.config.tensorboard)))
            stack.callback(vars(self).pop, "_batches", None)  # its processes end with the run
            self._begin()
            while not (stopped := self._asked_to_stop) and self._share() < 1:
                self._advance()
            if not stopped and self.at.judged_step != self.at.step:
                self._judge()
            self._save()
        parallel.leave(self.accelerator)
        return Outcome(
            reason="stopped" if stopped else "finished",
            step=self.at.step,
            minutes=self.at.spent_s / 60,
            score=self.last_score,
            score_name=self.task.score[0],
            more_is_better=self.task.score[1],
            best_score=self.at.best_score,
            best_step=self.at.best_step,
            component=self.out / "component",
            best=self.out / "best",
        )

    # --- beginning ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        share = Share(
            batch_size=self.config.batch_size,
            accumulation=self.config.accumulation,
            processes=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
        )
        self._agreement, self._meeting = (parallel.Agreement(self.accelerator) for _ in range(2))
        self.parts = [TrainedObjective(objective, self.config, self.accelerator) for objective in self.task.objectives]
        self._asked_to_stop = False
        self._saved_step: int | None = None
        states = self.out / "states"
        if self.is_first:
            checkpoint.clean(states)
        self.accelerator.wait_for_everyone()
        found = checkpoint.newest(states) if states.is_dir() else None
        if found is None:
            check_space(self.out, [part.num_bytes() for part in self.parts], self.config.keep_states)
        else:
            self.identity.compare(found[1]["identity"], self.out, self.accept_changes)
            self._load(checkpoint.read_tensors(*found), found[1])
            self._saved_step = self.at.step
        self._base_s, self._sat_down = self.at.spent_s, time.monotonic()
        self._saved_s = self.at.spent_s
        self._window_began, self._data_s = time.monotonic(), 0.0
        count = sum(p.numel() for part in self.parts for p in part.trainable)
        device, processes = str(self.accelerator.device), self.accelerator.num_processes
        self._emit(Began(self._moment(), found and found[0], count, device, processes))
        self._batches = batches(
            self.task, share, self.config, self.at.data_step, self.accelerator.device.type == "cuda"
        )
        if self.is_first:
            described = {"latentsync": __version__, **self.identity.described()}
            with atomic_path(self.out / "run.json") as part:
                part.write_text(json.dumps(described, indent=2) + "\n", "utf-8")
        if found is None:
            self._save()
        self._keep_in_memory()
        self.at.spent_s, self._sat_down = self._base_s, time.monotonic()  # the budget is for steps

    def _facts(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "position": self.at.facts(),
            "identity": self.identity.described(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "score": self.last_score,
            "latentsync": __version__,
        }

    def _load(self, tensors: list[checkpoint.Groups], facts: Mapping[str, Any]) -> None:
        if len(tensors) != len(self.parts):
            raise LatentSyncError(
                f"{self.out}: its state has {len(tensors)} objectives, not {len(self.parts)}. Choose another --out."
            )
        for part, groups in zip(self.parts, tensors, strict=True):
            part.restore(groups)
        self.at = RunState(**deepcopy(facts["position"]))
        self.last_score = facts["score"]
        if self.accelerator.scaler is not None and facts["scaler"]:
            self.accelerator.scaler.load_state_dict(dict(facts["scaler"]))

    # --- one step ----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        rate = self.config.learning_rate * self.at.rate_scale * rate_share(self.config, self.at.step, self.at.spent_s)
        seed_all(self.config.seed, self.at.data_step, self.accelerator.process_index)
        figures = self._gradients()
        self.at.data_step += 1
        reason = what_is_wrong(figures)
        scaler = self.accelerator.scaler
        if reason and scaler is not None and only_gradients(figures) and scaler.get_scale() > 1:
            for part in self.parts:
                scaler.step(part.optimiser)  # does nothing: it knows of the overflow
            scaler.update()
            log.info("step %d: gradients overflowed in fp16; loss scale %g", self.at.step + 1, scaler.get_scale())
        elif reason:
            self._roll_back(reason)
        else:
            for part in self.parts:
                part.step(rate, self.at.step + 1)
            if scaler is not None:
                scaler.update()
            self.at.step += 1
            self.at.add({k: v for k, v in figures.items() if k != "weights_norm"} | {"rate": rate})
        for part in self.parts:
            part.forget_gradients()
        if not reason:
            self._look_around()

    def _gradients(self) -> dict[str, float]:
        """Gradients of one step in every part, and its figures, the same in all processes."""
        parts = self.config.accumulation
        terms: dict[str, Tensor] = {}
        for a in range(parts):
            batch = self._next_batch()
            for index, part in enumerate(self.parts):
                before = f"{index}/" if index else ""
                with part.trained_alone(self.parts), parallel.syncing(self.accelerator, part, a == parts - 1):
                    found: dict[str, Tensor] = part.model(batch)
                    loss = torch.stack([term.float() for term in found.values()]).sum() / parts
                    self.accelerator.backward(loss)
                each = {f"{before}loss/{name}": term.detach().float() / parts for name, term in found.items()}
                for name, value in ({f"{before}loss": loss.detach()} | each).items():
                    terms[name] = terms[name] + value if name in terms else value
        figures: dict[str, Tensor | float] = dict(terms)
        for index, part in enumerate(self.parts):
            before = f"{index}/" if index else ""
            figures[f"{before}grad_norm"] = part.clip_gradient()
            figures[f"{before}weights_norm"] = part.weights_norm()
        figures["stop"] = float(self.stop())
        figures["spent_s"] = self._clock()
        agreed = self._agreement.means(figures)
        self._asked_to_stop = agreed.pop("stop") > 0
        self.at.spent_s = agreed.pop("spent_s")
        return agreed

    def _next_batch(self) -> dict[str, Tensor]:
        began = time.monotonic()
        batch = next_part(self._batches)
        device = self.accelerator.device
        moved = {k: v if k == "seed" else v.to(device, non_blocking=True) for k, v in batch.items()}
        self._data_s += time.monotonic() - began
        return moved

    # --- between steps -----------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Log, validate, save, remember: whatever is due after a step."""
        at, config = self.at, self.config
        if at.window_steps >= config.log_every:
            self._measure()
        by_step = config.validate_every is not None and at.step % config.validate_every == 0
        by_clock = config.validate_every_s is not None and at.spent_s - at.judged_s >= config.validate_every_s
        if by_step or by_clock:
            self._judge()
        if at.spent_s - self._saved_s >= config.save_every_s:
            self._save()
            self._keep_in_memory()
        elif config.snapshot_every is not None and at.step % config.snapshot_every == 0:
            self._keep_in_memory()

    def _measure(self) -> None:
        steps, now = self.at.window_steps, time.monotonic()
        figures = self.at.take_means()
        took = max(now - self._window_began, 1e-9)
        figures |= {
            "time/step_s": took / steps,
            "time/data_s": self._data_s / steps,
            "examples_per_s": steps * self.config.batch_size / took,
        }
        if self.accelerator.device.type == "cuda":
            figures["memory/peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._window_began, self._data_s = now, 0.0
        self._emit(Measured(self._moment(), figures))

    def _judge(self) -> None:
        began = time.monotonic()
        self.at.judged_step = self.at.step
        name, more_is_better = self.task.score
        with self.parts[0].judged() as network:
            if self.is_first:
                seed_all(self.config.seed)
                with torch.no_grad(), self.accelerator.autocast():
                    validation_result = self.task.validate(network)
                with torch.no_grad():
                    export_component(self.task, network, self.out / "component")
        self._read_clock()
        took = time.monotonic() - began
        self.at.judged_s = self.at.spent_s
        if self.is_first:
            self.last_score = validation_result.figures.get(name)
            is_best = self.last_score is not None and self.at.improves(self.last_score, more_is_better)
            if is_best:
                self.at.best_score, self.at.best_step = self.last_score, self.at.step
                replace_files(self.out / "component", self.out / "best", copy=True)
            for warning in validation_result.warnings:
                log.warning("step %d: %s", self.at.step, warning)
            self._emit(Validated(self._moment(), validation_result, self.last_score, is_best, took))
        self._window_began += took

    def _save(self) -> None:
        if self._saved_step == self.at.step and self._saved_s == self.at.spent_s:
            return
        began = time.monotonic()
        tensors = [part.gathered() for part in self.parts]
        if self.is_first:
            path = checkpoint.write_state(
                self.out / "states", self.at.step, tensors, self._facts(), self.config.keep_states
            )
        del tensors
        self._read_clock()
        took = time.monotonic() - began
        self._window_began += took
        self._saved_step, self._saved_s = self.at.step, self.at.spent_s
        if self.is_first:
            self._emit(Saved(self._moment(), path, took))

    def _keep_in_memory(self) -> None:
        if self.config.snapshot_every is not None and sum(p.num_bytes() for p in self.parts) <= LARGEST_IN_MEMORY:
            facts = json.loads(json.dumps(self._facts()))
            self._snapshot = [checkpoint.copies(part.tensors()) for part in self.parts], facts

    def _roll_back(self, reason: str) -> None:
        before, failed = self.at, self.at.step + 1
        rollbacks, rate_scale = before.rollbacks + 1, before.rate_scale / 2
        if rollbacks > self.config.max_rollbacks:
            raise LatentSyncError(
                f"step {failed}: {reason}, after {rollbacks - 1} rollbacks. Lower loop.learning_rate, or look at "
                f"the examples of that step."
            )
        if self._snapshot is None:
            found = checkpoint.newest(self.out / "states")
            assert found is not None  # one is written before the first step
            self._load(checkpoint.read_tensors(*found), found[1])
        else:
            self._load(*self._snapshot)
        for name in ("data_step", "spent_s", "best_score", "best_step", "judged_s"):  # these do not go back
            setattr(self.at, name, getattr(before, name))
        self.at.rollbacks, self.at.rate_scale = rollbacks, rate_scale
        log.warning("step %d: %s; back to step %d, learning rate × %g", failed, reason, self.at.step, rate_scale)
        self._emit(RolledBack(self._moment(), failed, reason, rate_scale))

    # --- telling -----------------------------------------------------------------------------------------------------

    def _clock(self) -> float:
        return self._base_s + time.monotonic() - self._sat_down

    def _read_clock(self) -> None:
        """All processes meet, and from here on take the same time for now: what is due by the clock is due for all."""
        self.at.spent_s = self._meeting.means({"spent_s": self._clock()})["spent_s"]

    def _share(self) -> float:
        return done_share(self.config, self.at.step, self.at.spent_s)

    def _moment(self) -> Moment:
        return Moment(step=self.at.step, spent_s=self.at.spent_s, share=self._share())

    def _emit(self, event: Began | Measured | Validated | Saved | RolledBack) -> None:
        if self.is_first:
            for watcher in self.watchers:
                watcher(event)
