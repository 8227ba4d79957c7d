"""Two workers on one PostgreSQL, and two actors on a local Ray cluster; one of them is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import postgres
import serving


def kill_one_and_finish(service: serving.Served, media: serving.Media, victim: int) -> None:
    """Put jobs in, kill a worker while one runs, and see all of them end."""
    video = service.upload(media.film)
    speeches = [service.upload(media.speech), service.upload(media.other)]
    jobs = [service.submit(video, speeches[number % 2], options={"seed": number})["id"] for number in range(6)]
    while not any(service.job(job)["state"] == "running" for job in jobs):
        time.sleep(0.05)
    os.kill(victim, signal.SIGKILL)
    ended = [service.wait(job) for job in jobs]
    assert [each["state"] for each in ended] == ["done"] * 6, ended
    again = [
        service.wait(service.submit(video, speeches[number % 2], options={"seed": number})["id"]) for number in range(2)
    ]
    assert [each["result"]["sha256"] for each in again] == [each["result"]["sha256"] for each in ended[:2]]


def test_two_servers_on_one_postgresql_one_killed(media: serving.Media, tmp_path: Path) -> None:
    """Each server has a worker of its own; the second one is killed with all it holds."""
    with postgres.running() as url:
        options = ("--database", url, "--lease", "2")
        with serving.served(tmp_path / "data", media, *options) as first:
            second, _ = serving.launched(tmp_path / "data", media, tmp_path / "second.log", *options)
            deadline = time.monotonic() + 60
            while first.http.get("/healthz").json()["workers"] < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            kill_one_and_finish(first, media, second.pid)
            serving.stop(second)


@pytest.mark.slow
def test_two_ray_actors_one_killed(media: serving.Media, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    options = ("--engine", "ray", "--workers", "2", "--lease", "3")
    with serving.served(tmp_path / "data", media, *options) as service:
        deadline = time.monotonic() + 120
        while service.http.get("/healthz").json()["workers"] < 2:
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.2)
        kill_one_and_finish(service, media, actors(service)[0])


def actors(service: serving.Served) -> list[int]:
    """Process numbers of the actors, as they name themselves in the job table."""
    import sqlite3

    with sqlite3.connect(service.data / "jobs.sqlite") as table:
        return [int(name.split(":")[4]) for (name,) in table.execute("SELECT name FROM workers")]
