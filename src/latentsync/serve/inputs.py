"""Inputs named by a web address are downloaded before their job is queued."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from latentsync.core.errors import LatentSyncError
from latentsync.serve import looking
from latentsync.serve.context import ApiError, Service
from latentsync.serve.fetching import download
from latentsync.serve.files import clean_name
from latentsync.serve.intake import check_kinds, frames_of, settled
from latentsync.serve.spec import file_ids
from latentsync.serve.store import Claim, LostLease
from latentsync.serve.worker import name_of

log = logging.getLogger(__name__)
LEASE_S = 120.0


def fetch_next(service: Service) -> bool:
    """Download the inputs of the next job that waits for them. Returns: whether there was one."""
    worker = f"{name_of(threading.get_ident())}:fetch"
    claim = service.store.claim(worker, LEASE_S, service.config.most_tries, state="fetching")
    if claim is None:
        return False
    spec = json.loads(claim.job["spec"])
    try:
        made = _fetched(service, claim, spec)
        rows = {file_id: service.files.get(file_id) or {} for file_id in file_ids(made)}
        check_kinds(service, made, rows)
        made = settled(made, rows)
        service.store.fetched(claim, made, frames_of(made, rows))
    except LostLease:
        log.info("job %s ended while its inputs were downloaded", claim.job["id"])
    except (ApiError, LatentSyncError) as error:
        words = error.message if isinstance(error, ApiError) else str(error)
        service.store.fail(claim, {"code": "media", "message": words, "setting": None})
    return True


def _fetched(service: Service, claim: Claim, spec: dict[str, Any]) -> dict[str, Any]:
    """The same job with files in place of addresses."""
    known: dict[str, str] = {}

    def file(each: Any) -> Any:
        if not isinstance(each, dict):
            return each
        url = each["url"]
        if url not in known:
            known[url] = _one(service, claim, url)
        return known[url]

    plan = [entry | {"audio": file(entry["audio"])} for entry in spec.get("plan") or ()]
    return spec | {"video": file(spec["video"]), "audio": file(spec.get("audio")), "plan": plan or None}


def _one(service: Service, claim: Claim, url: str) -> str:
    """Download one address into a new file. Returns: its number."""
    name = clean_name(url.partition("?")[0].partition("#")[0])
    row = service.files.create(claim.job["owner"], name, 0)
    path = service.files.path_of(row)
    try:
        with path.open("wb") as file:
            for block in download(url, service.config, service.config.upload_bytes):
                service.files.check_space(len(block))
                file.write(block)
                service.store.renew(claim, LEASE_S)
        info = service.looker.wait_for(looking.describe, path)
        service.files.complete(row | {"size": path.stat().st_size}, info)
    except BaseException:
        service.files.delete(row["id"])
        raise
    return str(row["id"])
