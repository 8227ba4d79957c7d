"""The tables, and a connection to SQLite (WAL) or PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Float, Index, Integer, String, Text, UniqueConstraint

from latentsync.core.errors import ConfigError, MissingExtraError

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), unique=True, nullable=False),
    Column("owner", String(80), nullable=False),
    Column("state", String(16), nullable=False),  # fetching, queued, running, done, failed, cancelled
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("spec", Text, nullable=False),  # JSON, see `spec.JobSpec`
    Column("door", String(8), nullable=False),  # v1, v2, batch: who asked, for the shape of webhooks
    Column("batch", String(80)),
    Column("expected_frames", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(120)),
    Column("lease_until", Float, nullable=False),
    Column("cancelling", Integer, nullable=False),
    Column("progress", Text),
    Column("best_done", Integer, nullable=False),  # most frames that any try got to
    Column("claim_done", Integer, nullable=False),  # the same when this try began
    Column("fruitless", Integer, nullable=False),  # tries lost in a row that got no farther
    Column("error", Text),
    Column("warnings", Text),
    Column("result", Text),
    Column("size_bytes", sa.BigInteger, nullable=False),
    Column("num_events", Integer, nullable=False),
    Column("idempotency_key", String(255)),
    Column("idempotency_hash", String(64)),
    UniqueConstraint("owner", "door", "idempotency_key"),
    Index("jobs_by_state", "state", "priority", "seq"),
)

events = sa.Table(
    "events",
    metadata,
    Column("job", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),
)

files = sa.Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("name", Text, nullable=False),
    Column("size", sa.BigInteger, nullable=False),
    Column("received", sa.BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("suffix", String(8), nullable=False),
    Column("info", Text),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("job", Integer, nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("event", String(40), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Float),  # None = over
    Column("status", Integer),
    Column("error", Text),
    Column("tried_at", Float),
)

workers = sa.Table(
    "workers",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("device", String(40), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
)


def connect(url: str) -> sa.Engine:
    """An engine with the tables made. Raises: ConfigError: no such database. MissingExtraError: no driver for it."""
    try:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        is_lite = parsed.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_lite else {"pool_pre_ping": True}
        engine = sa.create_engine(parsed, pool_size=20, max_overflow=40, hide_parameters=True, **arguments)
    except ModuleNotFoundError as error:
        raise MissingExtraError("postgres", str(error.name)) from error
    except sa.exc.ArgumentError as error:
        raise ConfigError("database", None, "write it as postgresql://user:password@host/name") from error
    if is_lite:
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
    try:
        with engine.begin() as connection:
            if not is_lite:  # several servers may start at once
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7211700)"))
            metadata.create_all(connection)
    except sa.exc.OperationalError as error:
        reason = str(error.orig).splitlines()[0] if error.orig else "no answer"
        raise ConfigError("database", parsed.render_as_string(), f"it cannot be opened ({reason})") from error
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    """Readers beside one writer; a commit survives a power cut (`synchronous` FULL); transactions are ours to begin."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for line in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 60000"):
        cursor.execute(f"PRAGMA {line}")
    cursor.close()


def _on_begin(connection: sa.Connection) -> None:
    """Who means to write takes the lock at once: a reader cannot become a writer behind another one's back."""
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def now_of(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Seconds since 1970 by the database's clock, which all machines share."""
    if engine.dialect.name == "sqlite":
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
    return sa.literal_column("extract(epoch from clock_timestamp())::double precision", Float)
