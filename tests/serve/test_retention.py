"""What is too old or too much goes; what is needed stays; a disk that is full is said."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from latentsync.serve.app import create_app
from latentsync.serve.context import Service
from latentsync.serve.files import NoSpace
from latentsync.serve.retention import tidy
from latentsync.serve.settings import ServeConfig


def service(folder: Path, **more: object) -> Service:
    found = create_app(ServeConfig(data=folder, **more)).state.service  # type: ignore[arg-type]
    assert isinstance(found, Service)
    return found


def ended(made: Service, video: str) -> str:
    job, _ = made.store.submit(owner="", name="n", model="m", spec={"video": video})
    claim = made.store.claim("w", 60, 3)
    assert claim is not None
    (made.files.job_folder(job["id"]) / "try-1").mkdir(parents=True)
    made.store.finish(claim, {"files": {}}, [], 1000)
    return str(job["id"])


def test_old_jobs_and_unused_files_go_and_needed_ones_stay(tmp_path: Path) -> None:
    made = service(tmp_path, keep_s=0.2)
    unused, needed = (made.files.create("", "a.mp4", 5)["id"] for _ in range(2))
    old = ended(made, unused)
    waiting, _ = made.store.submit(owner="", name="n", model="m", spec={"video": needed})
    time.sleep(0.4)
    tidy(made)
    assert made.queries.job(old) is None and not made.files.job_folder(old).exists()
    assert made.files.get(unused) is None and made.files.get(needed) is not None
    assert made.queries.job(waiting["id"]) is not None


def test_the_oldest_go_until_the_rest_fits(tmp_path: Path) -> None:
    made = service(tmp_path, keep_bytes=2500)
    jobs = [ended(made, "file_1") for _ in range(4)]
    tidy(made)
    assert [made.queries.job(job) is None for job in jobs] == [True, True, False, False]


def test_an_upload_that_would_fill_the_disk_is_refused_before_its_bytes(tmp_path: Path) -> None:
    made = service(tmp_path, spare_bytes=2**60)
    with pytest.raises(NoSpace, match="room for 0 MiB"):
        made.files.create("", "a.mp4", 5)
    assert not list(made.files.folder.iterdir())
