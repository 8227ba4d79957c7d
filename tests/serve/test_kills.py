"""Server and workers killed at random moments: every job ends, with the same bytes as when it is run alone."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import serving

SEEDS = range(8)


def alone(media: serving.Media, folder: Path) -> dict[int, str]:
    """Hashes of the results of eight jobs, each run by the library with nothing beside it."""
    from latentsync.core.hashing import file_sha256
    from latentsync.pipeline import Lipsync

    model = Lipsync.from_pretrained(media.model, offline=True)
    made = {}
    for seed in SEEDS:
        speech = media.speech if seed % 2 else media.other
        out = folder / f"{seed}.mp4"
        model(media.film, speech, out, seed=seed)
        made[seed] = file_sha256(out)
    return made


def kill_often(media: serving.Media, folder: Path, num_kills: int) -> None:
    """Run eight jobs of the same file names and other content, and kill `num_kills` times while they run."""
    expected = alone(media, folder)
    chance = random.Random(num_kills)
    options = ("--lease", "2", "--workers", "2")
    with serving.served(folder / "data", media, *options) as service:
        port = service.url.rpartition(":")[2]
        video = service.upload(media.film, "same.mp4")
        speeches = [service.upload(media.other, "same.wav"), service.upload(media.speech, "same.wav")]
        jobs = {
            seed: service.submit(video, speeches[seed % 2], options={"seed": seed}, name="same")["id"] for seed in SEEDS
        }
        for number in range(num_kills):
            time.sleep(chance.uniform(0.1, 2.5))
            victims = service.workers()
            if number % 2 == 0 and victims:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
            else:
                service.process.kill()
                service.process.wait()
                service.process, _ = serving.launched(
                    service.data, media, service.log, *options, "--port", port
                )  # the same data, the same port
        ended = {seed: service.wait(job, 300) for seed, job in jobs.items()}
        assert {seed: each["state"] for seed, each in ended.items()} == dict.fromkeys(SEEDS, "done"), ended
        assert {seed: each["result"]["sha256"] for seed, each in ended.items()} == expected
        for job in jobs.values():
            left = [
                path.relative_to(service.data) for path in (service.data / "jobs" / job).rglob("*") if path.is_file()
            ]
            assert [path.name for path in left] == ["result.mp4"], left
        serving.stop(service.process)
        assert not service.workers()


def test_killed_at_random_moments(media: serving.Media, tmp_path: Path) -> None:
    kill_often(media, tmp_path, 4)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(media: serving.Media, tmp_path: Path) -> None:
    kill_often(media, tmp_path, 20)


def test_the_workers_end_with_a_killed_server(media: serving.Media, tmp_path: Path) -> None:
    with serving.served(tmp_path / "data", media) as service:
        (worker,) = service.workers()
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        deadline = time.monotonic() + 30
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(f"/proc/{worker}").exists()


def test_a_job_at_hand_goes_back_when_the_service_is_stopped(media: serving.Media, tmp_path: Path) -> None:
    long = serving.cut(serving.SAMPLE / "talk.mp4", tmp_path / "long.mp4", 120)
    with serving.served(tmp_path / "data", media) as service:
        job = service.submit(service.upload(long), service.upload(serving.SAMPLE / "speech.wav"))
        while service.job(job["id"])["state"] == "queued":
            time.sleep(0.05)
        serving.stop(service.process)
    with serving.served(tmp_path / "data", media, "--workers", "0") as service:
        found = service.job(job["id"])
        assert (found["state"], found["place"]) == ("queued", 0)


def test_a_running_job_is_cancelled(media: serving.Media, tmp_path: Path) -> None:
    long = serving.cut(serving.SAMPLE / "talk.mp4", tmp_path / "long.mp4", 120)
    with serving.served(tmp_path / "data", media) as service:
        job = service.submit(service.upload(long), service.upload(serving.SAMPLE / "speech.wav"))
        while (service.job(job["id"])["progress"] or {}).get("stage") != "sync":
            time.sleep(0.02)
        assert service.http.delete(f"/v1/jobs/{job['id']}").status_code == 409
        service.http.post(f"/v1/jobs/{job['id']}/cancel")
        assert service.wait(job["id"], 60)["state"] == "cancelled"
        assert not (service.data / "jobs" / job["id"]).exists()
        next_one = service.submit(service.upload(media.film), service.upload(media.speech))
        assert service.wait(next_one["id"])["state"] == "done"


def test_a_killed_service_keeps_its_jobs_and_knows_their_requests(media: serving.Media, tmp_path: Path) -> None:
    key = {"Idempotency-Key": "k"}
    with serving.served(tmp_path / "data", media, "--workers", "0") as service:
        body = {"video": service.upload(media.film), "audio": service.upload(media.speech)}
        first = service.http.post("/v1/jobs", json=body, headers=key).json()
        service.process.kill()
        service.process.wait()
        with pytest.raises(httpx.TransportError):
            service.job(first["id"])
    with serving.served(tmp_path / "data", media) as service:
        second = service.http.post("/v1/jobs", json=body, headers=key)
        assert (second.status_code, second.json()["id"]) == (200, first["id"])
        assert service.wait(first["id"])["state"] == "done"
