"""What can be read of the job table: jobs, their place in the queue, the time they still need, their events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from latentsync.serve.store import ALIVE_S, ENDED
from latentsync.serve.tables import deliveries, events, jobs, now_of, workers

WAITING = ("queued", "fetching")
RECENT = 20
"""Finished jobs of a model whose speed tells that of the next one."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model was on this machine.

    Attributes:
        frames_per_s: of whole jobs, with their pictures and previews.
        peak_memory_gib: the largest; None = not known.
    """

    frames_per_s: float
    peak_memory_gib: float | None


class JobQueries:
    """Reads only; beside writers, without waiting for them."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self._now = engine.execution_options(reads=True), now_of(engine)

    def now(self) -> float:
        with self.engine.connect() as connection:
            return float(connection.execute(sa.select(self._now)).scalar_one())

    def job(self, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
        """A job's row; with an owner only if it is theirs."""
        wanted = jobs.c.id == job_id
        if owner is not None:
            wanted = wanted & (jobs.c.owner == owner)
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(jobs).where(wanted)).mappings().one_or_none()
            return None if row is None else dict(row)

    def page(
        self,
        owner: str,
        states: Sequence[str] = (),
        limit: int = 50,
        before: str | None = None,
        door: str | None = None,
        batch: str | None = None,
    ) -> list[dict[str, Any]]:
        """Up to `limit` jobs of an owner, newest first, older than the job `before`."""
        wanted = jobs.c.owner == owner
        if states:
            wanted = wanted & jobs.c.state.in_(states)
        if before is not None:
            wanted = wanted & (jobs.c.seq < sa.select(jobs.c.seq).where(jobs.c.id == before).scalar_subquery())
        if door is not None:
            wanted = wanted & (jobs.c.door == door)
        if batch is not None:
            wanted = wanted & (jobs.c.batch == batch)
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(jobs).where(wanted).order_by(jobs.c.seq.desc()).limit(limit))
            return [dict(row) for row in found.mappings()]

    def place(self, row: Mapping[str, Any]) -> tuple[int | None, float | None]:
        """Jobs before a waiting one, and the seconds until its end. None = not known, or not waiting."""
        if row["state"] == "running":
            return None, (json.loads(row["progress"]) if row["progress"] else {}).get("eta_s")
        if row["state"] not in WAITING:
            return None, None
        ahead = jobs.c.state.in_(WAITING) & (
            (jobs.c.priority > row["priority"]) | ((jobs.c.priority == row["priority"]) & (jobs.c.seq < row["seq"]))
        )
        with self.engine.connect() as connection:
            number, frames = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(jobs.c.expected_frames), 0.0)).where(ahead)
            ).one()
            running = [
                (json.loads(progress) if progress else {}, expected)
                for progress, expected in connection.execute(
                    sa.select(jobs.c.progress, jobs.c.expected_frames).where(jobs.c.state == "running")
                )
            ]
            hands = max(1, self._alive(connection))
        speed = self.speed(row["model"])
        if speed is None or row["expected_frames"] is None:
            return int(number), None
        left_s = sum(step.get("eta_s") or (expected or 0.0) / speed.frames_per_s for step, expected in running)
        own_s = row["expected_frames"] / speed.frames_per_s
        return int(number), (left_s + frames / speed.frames_per_s) / hands + own_s

    def speed(self, model: str) -> Speed | None:
        """Of the last finished jobs of a model here; None = none yet."""
        wanted = (jobs.c.state == "done") & (jobs.c.model == model) & (jobs.c.attempt == 1)
        columns = (jobs.c.started_at, jobs.c.finished_at, jobs.c.result)
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(wanted).order_by(jobs.c.seq.desc()).limit(RECENT)).all()
        if not rows:
            return None
        results = [json.loads(row.result) for row in rows]
        seconds = sum(row.finished_at - row.started_at for row in rows)
        memory = [result["peak_memory_gib"] for result in results if result.get("peak_memory_gib") is not None]
        frames = sum(result["num_frames"] for result in results)
        return Speed(frames / max(seconds, 1e-3), max(memory, default=None))

    def events_after(self, seq: int, number: int, limit: int = 1000) -> list[tuple[int, str, dict[str, Any]]]:
        """Events of a job with higher numbers, in order: number, kind, data."""
        later = (events.c.job == seq) & (events.c.number > number)
        columns = (events.c.number, events.c.kind, events.c.data)
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(*columns).where(later).order_by(events.c.number).limit(limit))
            return [(row.number, row.kind, json.loads(row.data)) for row in found]

    def needs(self, file_id: str) -> bool:
        """Whether a job that has not ended needs a file."""
        live = jobs.c.state.not_in(ENDED) & jobs.c.spec.contains(file_id, autoescape=True)
        with self.engine.connect() as connection:
            return connection.execute(sa.select(jobs.c.seq).where(live).limit(1)).first() is not None

    def deliveries_of(self, seq: int) -> list[dict[str, Any]]:
        """Webhooks of a job, in the order in which they were tried last."""
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(deliveries).where(deliveries.c.job == seq).order_by(deliveries.c.id))
            return [dict(row) for row in found.mappings()]

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        with self.engine.connect() as connection:
            return {
                str(state): int(number)
                for state, number in connection.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
            }

    def num_workers(self) -> int:
        """Workers that gave a sign of life within the last minute."""
        with self.engine.connect() as connection:
            return self._alive(connection)

    def _alive(self, connection: sa.Connection) -> int:
        alive = sa.select(sa.func.count()).where(workers.c.seen_at > self._now - ALIVE_S)
        return int(connection.execute(alive).scalar_one())
