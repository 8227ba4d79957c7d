"""The job table by itself: on SQLite, and on PostgreSQL where a server's programs are found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import postgres
from latentsync.serve.queries import JobQueries
from latentsync.serve.store import Conflict, JobStore, LostLease, QueueFull
from latentsync.serve.tables import connect, metadata


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        yield connect(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    else:
        made = connect(request.getfixturevalue("server"))
        yield made
        metadata.drop_all(made)
        made.dispose()


@pytest.fixture
def store(engine: sa.Engine) -> JobStore:
    return JobStore(engine)


def put(store: JobStore, **more: Any) -> dict[str, Any]:
    job, _ = store.submit(owner="", name="n", model="m", spec={"video": "file_1"}, **more)
    return dict(job)


def test_the_highest_priority_then_the_oldest_comes_first(store: JobStore) -> None:
    jobs = [put(store), put(store), put(store, priority=3)]
    taken = [store.claim(f"w{n}", 60, 3) for n in range(4)]
    assert [None if each is None else each.job["id"] for each in taken] == [
        jobs[2]["id"], jobs[0]["id"], jobs[1]["id"], None,
    ]  # fmt: skip


def test_a_job_goes_to_one_worker_only(store: JobStore) -> None:
    made = {put(store)["id"] for _ in range(30)}
    taken: list[str] = []

    def work(name: str) -> None:
        while (claim := store.claim(name, 60, 3)) is not None:
            taken.append(claim.job["id"])

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(made)


def test_a_silent_worker_loses_its_job_and_can_change_nothing_more(store: JobStore) -> None:
    put(store)
    first = store.claim("slow", 0.05, 3)
    assert first is not None
    time.sleep(0.1)
    second = store.claim("next", 60, 3)
    assert second is not None and second.attempt == 2
    for change in (
        lambda: store.renew(first, 60),
        lambda: store.finish(first, {}, [], 0),
        lambda: store.progress(first, {"stage": "sync", "done": 1}, 60),
        lambda: store.put_back(first),
    ):
        with pytest.raises(LostLease):
            change()
    store.finish(second, {"files": {}}, [], 7)


def test_a_job_that_kills_its_workers_ends_but_one_that_gets_on_does_not(store: JobStore, engine: sa.Engine) -> None:
    bad, queries = put(store), JobQueries(engine)
    for number in range(3):
        assert store.claim(f"w{number}", 60, 3) is not None
        store.forget_worker(f"w{number}")
    assert store.claim("w3", 60, 3) is None
    ended = queries.job(bad["id"])
    assert ended is not None and ended["state"] == "failed" and '"lost"' in ended["error"]
    good = put(store)
    for number in range(8):  # as often killed, but a little farther each time
        claim = store.claim(f"v{number}", 60, 3)
        assert claim is not None and claim.job["id"] == good["id"]
        store.progress(claim, {"stage": "sync", "done": 8 * (number + 1)}, 60)
        store.forget_worker(f"v{number}")
    assert store.claim("v8", 60, 3) is not None


def test_cancelling(store: JobStore, engine: sa.Engine) -> None:
    waiting, running = put(store), put(store, priority=1)
    claim = store.claim("w", 60, 3)
    assert claim is not None
    store.cancel(waiting["seq"])
    store.cancel(running["seq"])
    queries = JobQueries(engine)
    assert [queries.job(each["id"])["state"] for each in (waiting, running)] == ["cancelled", "running"]  # type: ignore[index]
    assert store.renew(claim, 60) is True  # that is how the worker hears of it
    store.forget_worker("w")  # it dies before it could stop: nobody takes the job up again
    assert store.claim("v", 60, 3) is None
    assert queries.job(running["id"])["state"] == "cancelled"  # type: ignore[index]


def test_the_same_key_is_the_same_job_also_at_once(store: JobStore) -> None:
    made: list[tuple[str, bool]] = []

    def submit() -> None:
        job, is_new = store.submit(owner="", name="n", model="m", spec={}, key="k", key_hash="h")
        made.append((job["id"], is_new))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job for job, _ in made}) == 1 and sum(is_new for _, is_new in made) == 1
    with pytest.raises(Conflict):
        store.submit(owner="", name="n", model="m", spec={}, key="k", key_hash="other")
    assert store.submit(owner="b", name="n", model="m", spec={}, key="k", key_hash="other")[1]  # another's own key


def test_a_full_queue_takes_no_more(store: JobStore) -> None:
    put(store, most_queued=1)
    with pytest.raises(QueueFull):
        put(store, most_queued=1)


def test_events_are_numbered_without_gaps_and_kept(store: JobStore, engine: sa.Engine) -> None:
    job = put(store)
    claim = store.claim("w", 60, 3)
    assert claim is not None
    for done in (8, 16):
        store.progress(claim, {"stage": "sync", "done": done}, 60)
    store.warn(claim, "a warning")
    store.fail(claim, {"code": "media", "message": "m"})
    found = JobQueries(engine).events_after(job["seq"], 0)
    assert [number for number, _, _ in found] == list(range(1, 8))
    assert [kind for _, kind, _ in found] == ["state", "state", "progress", "progress", "warning", "state", "end"]
