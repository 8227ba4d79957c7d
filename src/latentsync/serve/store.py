"""The job table: jobs are put in, claimed under a lease, and ended; every change is an event that can be read again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from latentsync.core.errors import LatentSyncError
from latentsync.serve.spec import webhook_urls
from latentsync.serve.tables import deliveries, events, jobs, now_of, workers

ENDED = ("done", "failed", "cancelled")
ALIVE_S = 60.0
"""A worker that was not seen for so long is not counted any more."""


class LostLease(Exception):
    """The job is another worker's now, or was taken away: whatever was made of it is to be dropped."""


class Conflict(LatentSyncError):
    """What is asked for does not fit the state of things, e.g. another request with the same idempotency key."""


class QueueFull(LatentSyncError):
    """So many jobs wait that no more are taken."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One try at one job: whoever holds it may change the job."""

    job: Mapping[str, Any]
    worker: str
    attempt: int

    @property
    def seq(self) -> int:
        return int(self.job["seq"])


class JobStore:
    """The jobs of one database. Every method is one transaction and safe from any thread and process."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self._now = engine, now_of(engine)

    def submit(
        self,
        *,
        owner: str,
        name: str,
        model: str,
        spec: Mapping[str, Any],
        priority: int = 0,
        door: str = "v1",
        batch: str | None = None,
        expected_frames: float | None = None,
        fetching: bool = False,
        key: str | None = None,
        key_hash: str | None = None,
        most_queued: int | None = None,
    ) -> tuple[Mapping[str, Any], bool]:
        """Put a job in. Returns: it, and whether it is new (False = the same request came before).

        Raises: Conflict: the key was used for another request. QueueFull.
        """
        with self.engine.begin() as connection:
            if key is not None and (known := self._keyed(connection, owner, door, key)) is not None:
                return self._same(known, key_hash), False
            if most_queued is not None:
                waiting = sa.select(sa.func.count()).where(jobs.c.state.in_(("queued", "fetching")))
                if connection.execute(waiting).scalar_one() >= most_queued:
                    raise QueueFull(f"{most_queued} jobs are waiting already. Try again later")
            values = {
                "id": f"job_{secrets.token_hex(10)}", "owner": owner, "state": "fetching" if fetching else "queued",
                "name": name, "model": model, "priority": priority, "spec": json.dumps(spec), "door": door,
                "batch": batch, "expected_frames": expected_frames, "created_at": self._now, "attempt": 0,
                "lease_until": 0.0, "cancelling": 0, "best_done": 0, "claim_done": 0, "fruitless": 0, "size_bytes": 0,
                "num_events": 0, "idempotency_key": key, "idempotency_hash": key_hash,
            }  # fmt: skip
            try:
                with connection.begin_nested():
                    row = connection.execute(sa.insert(jobs).values(values).returning(jobs)).mappings().one()
            except sa.exc.IntegrityError:
                known = None if key is None else self._keyed(connection, owner, door, key)
                if known is None:
                    raise
                return self._same(known, key_hash), False  # another server was faster
            self._event(connection, row["seq"], "state", {"state": "queued"})
            return dict(row), True

    def _keyed(self, connection: sa.Connection, owner: str, door: str, key: str) -> Mapping[str, Any] | None:
        same = (jobs.c.owner == owner) & (jobs.c.door == door) & (jobs.c.idempotency_key == key)
        row = connection.execute(sa.select(jobs).where(same)).mappings().one_or_none()
        return None if row is None else dict(row)

    def _same(self, known: Mapping[str, Any], key_hash: str | None) -> Mapping[str, Any]:
        if known["idempotency_hash"] != key_hash:
            raise Conflict("this idempotency key was used for another request. Choose a new one")
        return dict(known)

    def claim(self, worker: str, lease_s: float, most_tries: int, state: str = "queued") -> Claim | None:
        """Take the next job: the highest priority, then the oldest, then those whose worker fell silent.

        A job that `most_tries` workers in a row lost without getting farther is failed here instead.
        Args: state: "queued", or "fetching" for a job whose inputs are still to be downloaded.
        """
        while True:
            with self.engine.begin() as connection:
                lost = (jobs.c.state == "running") & (jobs.c.lease_until < self._now)
                free = jobs.c.state == state
                if state == "queued":
                    free = free | lost
                else:
                    free = free & (jobs.c.lease_until < self._now)
                order = (jobs.c.priority.desc(), jobs.c.seq)
                found = sa.select(jobs).where(free).order_by(*order).limit(1).with_for_update(skip_locked=True)
                row = connection.execute(found).mappings().one_or_none()
                if row is None:
                    return None
                if row["cancelling"]:
                    self._end(connection, row["seq"], "cancelled", {})
                    continue
                was_lost = row["state"] == "running"
                fruitless = 0 if row["best_done"] > row["claim_done"] else row["fruitless"] + was_lost
                if was_lost and fruitless >= most_tries:
                    words = f"{fruitless} workers in a row ended while they worked on it. See the log of the service"
                    error = {"code": "lost", "message": words, "setting": None}
                    self._end(connection, row["seq"], "failed", {"error": json.dumps(error)})
                    continue
                attempt = row["attempt"] + (state == "queued")
                values: dict[str, Any] = {"worker": worker, "lease_until": self._now + lease_s, "attempt": attempt}
                if state == "queued":
                    values |= {
                        "state": "running", "started_at": sa.func.coalesce(jobs.c.started_at, self._now),
                        "claim_done": row["best_done"], "fruitless": fruitless, "progress": None,
                    }  # fmt: skip
                mine = jobs.c.seq == row["seq"]
                taken = connection.execute(sa.update(jobs).where(mine).values(values).returning(jobs)).mappings().one()
                if state == "queued":
                    self._event(connection, taken["seq"], "state", {"state": "running", "attempt": attempt})
                return Claim(dict(taken), worker, attempt)

    def _held(self, claim: Claim) -> sa.ColumnElement[bool]:
        state = jobs.c.state.in_(("running", "fetching"))
        return (jobs.c.seq == claim.seq) & (jobs.c.worker == claim.worker) & (jobs.c.attempt == claim.attempt) & state

    def _changed(self, connection: sa.Connection, claim: Claim, values: Mapping[str, Any]) -> Mapping[str, Any]:
        row = connection.execute(sa.update(jobs).where(self._held(claim)).values(dict(values)).returning(jobs))
        found = row.mappings().one_or_none()
        if found is None:
            raise LostLease(claim.job["id"])
        return dict(found)

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Hold on to a job. Returns: whether it is to be cancelled. Raises: LostLease."""
        with self.engine.begin() as connection:
            return bool(self._changed(connection, claim, {"lease_until": self._now + lease_s})["cancelling"])

    def progress(self, claim: Claim, step: Mapping[str, Any], lease_s: float) -> bool:
        """Say how far a job is, and hold on to it. Returns: whether it is to be cancelled. Raises: LostLease."""
        with self.engine.begin() as connection:
            values: dict[str, Any] = {"progress": json.dumps(step), "lease_until": self._now + lease_s}
            if step.get("stage") == "sync":
                done = int(step["done"])
                values["best_done"] = sa.case((jobs.c.best_done > done, jobs.c.best_done), else_=done)
            row = self._changed(connection, claim, values)
            self._event(connection, claim.seq, "progress", step)
            return bool(row["cancelling"])

    def warn(self, claim: Claim, text: str) -> None:
        with self.engine.begin() as connection:
            self._changed(connection, claim, {"cancelling": jobs.c.cancelling})
            self._event(connection, claim.seq, "warning", {"text": text})

    def finish(self, claim: Claim, result: Mapping[str, Any], warnings: Sequence[str], size_bytes: int) -> None:
        """Raises: LostLease."""
        values = {"result": json.dumps(result), "warnings": json.dumps(list(warnings)), "size_bytes": size_bytes}
        self._end_claim(claim, "done", values)

    def fail(self, claim: Claim, error: Mapping[str, Any], warnings: Sequence[str] = ()) -> None:
        """Raises: LostLease."""
        self._end_claim(claim, "failed", {"error": json.dumps(error), "warnings": json.dumps(list(warnings))})

    def cancelled(self, claim: Claim) -> None:
        """Raises: LostLease."""
        self._end_claim(claim, "cancelled", {})

    def _end_claim(self, claim: Claim, state: str, values: Mapping[str, Any]) -> None:
        with self.engine.begin() as connection:
            self._changed(connection, claim, {"lease_until": 0.0})
            self._end(connection, claim.seq, state, values)

    def _end(self, connection: sa.Connection, seq: int, state: str, values: Mapping[str, Any]) -> None:
        last = {"state": state, "finished_at": self._now, "worker": None, "lease_until": 0.0, "progress": None}
        ended = sa.update(jobs).where(jobs.c.seq == seq).values(dict(values) | last).returning(jobs.c.spec)
        spec = json.loads(connection.execute(ended).scalar_one())
        for url in webhook_urls(spec):
            hook = {
                "id": f"msg_{secrets.token_hex(12)}", "job": seq, "url": url, "event": f"job.{state}",
                "attempt": 0, "next_at": self._now,
            }  # fmt: skip
            connection.execute(sa.insert(deliveries).values(hook))
        self._event(connection, seq, "state", {"state": state})
        self._event(connection, seq, "end", {})

    def put_back(self, claim: Claim) -> None:
        """Give a job back that was not finished, e.g. because the service is stopped. Raises: LostLease."""
        with self.engine.begin() as connection:
            state = {"state": "queued", "worker": None, "lease_until": 0.0, "progress": None}
            self._changed(connection, claim, state)
            self._event(connection, claim.seq, "state", {"state": "queued"})

    def forget_worker(self, worker: str) -> None:
        """A worker is known to have ended: its job is free at once."""
        with self.engine.begin() as connection:
            held = (jobs.c.worker == worker) & jobs.c.state.in_(("running", "fetching"))
            connection.execute(sa.update(jobs).where(held).values(lease_until=0.0))
            connection.execute(sa.delete(workers).where(workers.c.name == worker))

    def fetched(self, claim: Claim, spec: Mapping[str, Any], expected_frames: float | None) -> None:
        """The inputs of a job are there. Raises: LostLease."""
        with self.engine.begin() as connection:
            values = {"spec": json.dumps(spec), "state": "queued", "worker": None, "lease_until": 0.0}
            self._changed(connection, claim, values | {"expected_frames": expected_frames})

    def cancel(self, seq: int) -> None:
        """Ask for the end of a job: a waiting one ends at once, a running one at its next chunk."""
        with self.engine.begin() as connection:
            waiting = (jobs.c.seq == seq) & jobs.c.state.in_(("queued", "fetching"))
            if connection.execute(sa.update(jobs).where(waiting).values(cancelling=1, state="cancelled")).rowcount:
                self._end(connection, seq, "cancelled", {})
                return
            running = (jobs.c.seq == seq) & (jobs.c.state == "running")
            connection.execute(sa.update(jobs).where(running).values(cancelling=1))

    def prioritise(self, seq: int, priority: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(jobs).where(jobs.c.seq == seq).values(priority=priority))

    def delete(self, seq: int) -> None:
        """A job that has ended, with its events and webhooks."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(events).where(events.c.job == seq))
            connection.execute(sa.delete(deliveries).where(deliveries.c.job == seq))
            connection.execute(sa.delete(jobs).where((jobs.c.seq == seq) & jobs.c.state.in_(ENDED)))

    def _event(self, connection: sa.Connection, seq: int, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event; the job's row is locked by its counter, so numbers come in the order of the commits."""
        count = sa.update(jobs).where(jobs.c.seq == seq).values(num_events=jobs.c.num_events + 1)
        row = connection.execute(count.returning(jobs.c.num_events, self._now.label("at"))).one()
        data = dict(data) | {"at": row.at} if kind == "state" else data
        values = {"job": seq, "number": row.num_events, "kind": kind, "data": json.dumps(data)}
        connection.execute(sa.insert(events).values(values))

    def seen(self, worker: str, device: str) -> None:
        """A worker says that it lives."""
        with self.engine.begin() as connection:
            mine = sa.update(workers).where(workers.c.name == worker).values(seen_at=self._now)
            if not connection.execute(mine).rowcount:
                new = {"name": worker, "device": device, "started_at": self._now, "seen_at": self._now}
                connection.execute(sa.insert(workers).values(new))
            connection.execute(sa.delete(workers).where(workers.c.seen_at < self._now - 100 * ALIVE_S))
