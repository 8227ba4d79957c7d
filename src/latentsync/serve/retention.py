"""What is kept and for how long: finished jobs and unused uploads go by age and by the room they take."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa

from latentsync.serve.context import Service
from latentsync.serve.store import ENDED
from latentsync.serve.tables import files, jobs, now_of

log = logging.getLogger(__name__)
ORPHAN_S = 3600.0


def tidy(service: Service) -> bool:
    """Delete what is too old, then the oldest until the rest fits. Returns: False, there is nothing more to do."""
    config, engine = service.config, service.store.engine.execution_options(reads=True)
    now = now_of(engine)
    if config.keep_s is not None:
        old = jobs.c.state.in_(ENDED) & (jobs.c.finished_at < now - config.keep_s)
        with engine.connect() as connection:
            rows = connection.execute(sa.select(jobs.c.seq, jobs.c.id).where(old)).all()
            unused = sa.select(files.c.id).where(files.c.used_at < now - config.keep_s)
            ids = connection.execute(unused).scalars().all()
        for row in rows:
            _drop_job(service, row.seq, row.id)
        for file_id in ids:
            if not service.queries.needs(file_id):
                service.files.delete(file_id)
    if config.keep_bytes is not None:
        _shrink(service, config.keep_bytes)
    _sweep(service)
    return False


def _drop_job(service: Service, seq: int, job_id: str) -> None:
    service.store.delete(seq)
    service.files.delete_job(job_id)


def _shrink(service: Service, most: int) -> None:
    """Delete the oldest finished jobs and unused files until all together take at most so many bytes."""
    with service.store.engine.execution_options(reads=True).connect() as connection:
        ended = sa.select(jobs.c.seq, jobs.c.id, jobs.c.size_bytes, jobs.c.finished_at).where(jobs.c.state.in_(ENDED))
        kept = [(row.finished_at, row.size_bytes, row) for row in connection.execute(ended)]
        kept += [(row.used_at, row.received, row) for row in connection.execute(sa.select(files))]
    total = sum(size for _, size, _ in kept)
    for _, size, row in sorted(kept, key=lambda each: each[0]):
        if total <= most:
            return
        if hasattr(row, "seq"):
            _drop_job(service, row.seq, row.id)
        elif service.queries.needs(row.id):
            continue
        else:
            service.files.delete(row.id)
        total -= size


def _sweep(service: Service) -> None:
    """Delete folders without a row, which a killed process left, once they are an hour old."""
    import shutil
    import time

    for folder, is_known in (
        (service.files.folder, lambda name: service.files.get(name) is not None),
        (service.files.jobs_folder, lambda name: service.queries.job(name) is not None),
    ):
        for path in list(Path(folder).iterdir()):
            try:
                if time.time() - path.stat().st_mtime > ORPHAN_S and not is_known(path.name):
                    shutil.rmtree(path, ignore_errors=True)
            except OSError as error:
                log.debug("%s: %s", path.name, error.strerror)
