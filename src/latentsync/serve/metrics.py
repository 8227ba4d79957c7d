"""Numbers for Prometheus, read from the job table when they are asked for: the same from every server of a table."""

from __future__ import annotations

import json

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from latentsync.serve.queries import JobQueries
from latentsync.serve.tables import jobs

STATES = ("fetching", "queued", "running", "done", "failed", "cancelled")


def metrics_text(queries: JobQueries) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    number = Gauge("latentsync_jobs", "Jobs kept, by state", ["state"], registry=registry)
    counts = queries.counts()
    for state in STATES:
        number.labels(state).set(counts.get(state, 0))
    Gauge("latentsync_workers", "Workers seen within the last minute", registry=registry).set(queries.num_workers())
    oldest = Gauge("latentsync_oldest_queued_seconds", "Age of the oldest waiting job", registry=registry)
    with queries.engine.connect() as connection:
        first = sa.select(sa.func.min(jobs.c.created_at)).where(jobs.c.state == "queued")
        since = connection.execute(first).scalar_one()
        done = sa.select(jobs.c.result).where(jobs.c.state == "done").order_by(jobs.c.seq.desc()).limit(20)
        results = [json.loads(text) for text in connection.execute(done).scalars()]
    oldest.set(0.0 if since is None else max(0.0, queries.now() - since))
    speed = Gauge("latentsync_frames_per_second", "Of the last finished jobs", ["model"], registry=registry)
    for result in reversed(results):
        speed.labels(result["model"]).set(result["frames_per_s"])
    return generate_latest(registry)
