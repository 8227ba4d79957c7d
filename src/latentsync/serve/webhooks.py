"""Webhooks: a job's end is told to its address, signed, again and again until it is heard or a day has passed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from latentsync.core.errors import LatentSyncError
from latentsync.serve.context import Service
from latentsync.serve.fetching import post
from latentsync.serve.generations import generation_json
from latentsync.serve.jobs import shown
from latentsync.serve.keys import secret_file
from latentsync.serve.tables import deliveries, jobs, now_of

log = logging.getLogger(__name__)
PAUSES_S = (5, 30, 120, 600, 3600, 3 * 3600, 10 * 3600)
"""Between two tries; after the last one a webhook is given up."""
TAKEN_S = 120.0
"""A server that took a webhook and ended leaves it to another after so long."""


def signing_secret(service: Service) -> bytes:
    """What webhooks are signed with; the receiver gets it from `latentsync serve --webhook-secret`."""
    return secret_file(service.config.data / "webhook.secret")


def secret_text(secret: bytes) -> str:
    """In the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secret).decode()


def signed(secret: bytes, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks (`webhook-signature`: v1, HMAC-SHA256 over id.time.body, base64), and one with time
    and hexadecimal digits over time.body."""
    full = hmac.new(secret, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    short = hmac.new(secret_text(secret).encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "webhook-id": message_id, "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(full).decode()}", "Sync-Signature": f"t={at},v1={short}",
    }  # fmt: skip


def send_next(service: Service) -> bool:
    """Send the next webhook that is due. Returns: whether there was one."""
    engine, now = service.store.engine, now_of(service.store.engine)
    with engine.begin() as connection:
        due = sa.select(deliveries).where(deliveries.c.next_at <= now).order_by(deliveries.c.next_at).limit(1)
        row = connection.execute(due.with_for_update(skip_locked=True)).mappings().one_or_none()
        if row is None:
            return False
        mine = deliveries.c.id == row["id"]
        taken = {"next_at": now + TAKEN_S, "attempt": row["attempt"] + 1, "tried_at": now}
        connection.execute(sa.update(deliveries).where(mine).values(taken))
        job = connection.execute(sa.select(jobs).where(jobs.c.seq == row["job"])).mappings().one_or_none()
        at = int(connection.execute(sa.select(now)).scalar_one())
    status, error = None, None
    if job is not None:
        body = json.dumps(_words(service, dict(job), row["event"])).encode()
        headers = signed(signing_secret(service), row["id"], at, body) | {"content-type": "application/json"}
        try:
            status = post(row["url"], service.config, headers | {"User-Agent": "latentsync"}, body)
        except LatentSyncError as refused:
            error = str(refused)[:300]
    heard = status is not None and 200 <= status < 300
    over = job is None or heard or row["attempt"] >= len(PAUSES_S)
    values: dict[str, Any] = {"status": status, "error": error}
    values["next_at"] = None if over else now + float(PAUSES_S[row["attempt"]]) * service.config.webhook_pace
    if not heard:
        log.info("webhook of job %s, try %d: %s", job and job["id"], row["attempt"] + 1, status or error)
    with engine.begin() as connection:
        connection.execute(sa.update(deliveries).where(mine).values(values))
    return True


def _words(service: Service, job: dict[str, Any], event: str) -> Mapping[str, Any]:
    """What is told: the job as its door shows it."""
    base = (service.config.public_url or f"http://127.0.0.1:{service.config.port}").rstrip("/")
    if job["door"] == "v2":
        return generation_json(service, job, base)
    return {"type": event, "job": shown(service, job)}
