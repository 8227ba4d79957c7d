"""The page in a real browser: the whole order of work, closing it between, several speeches, names that are markup."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serving

SECOND = 60_000


def put_in(page: Any, url: str, film: Path, speech: Path) -> None:
    page.goto(url)
    page.set_input_files("#video", film)
    page.wait_for_selector("#faces:not([hidden])", timeout=SECOND)
    page.set_input_files("#audio", speech)
    page.wait_for_selector(".drop.ready[data-kind=audio]", timeout=SECOND)
    page.wait_for_selector("#look-wait", state="hidden", timeout=SECOND)


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """What it gives, once that is true. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.1)
    return found


def test_a_film_goes_from_drop_to_download(page: Any, service: serving.Served, media: serving.Media) -> None:
    put_in(page, service.url, media.film, media.speech)
    assert page.locator(".box").count() == 1
    page.click(".box")
    assert page.get_attribute(".box", "aria-pressed") == "true"
    page.click("#make")
    page.wait_for_selector(".job .compare:not([hidden])", timeout=2 * SECOND)
    assert page.inner_text(".job .state") == "Ready"
    with page.expect_download() as download:
        page.click(".job .actions a.button")
    got = Path(str(download.value.path())).read_bytes()
    (job,) = service.http.get("/v1/jobs").json()["jobs"]
    assert hashlib.sha256(got).hexdigest() == job["result"]["sha256"]
    assert job["options"]["face"].count(",") == 3  # the place of the face that was clicked
    kept = service.http.get(f"/v1/files/{job['video']['id']}/content").content
    assert kept == media.film.read_bytes()  # the original bytes
    page.click(".job .actions button >> text=Delete")
    page.wait_for_selector(".job", state="detached")
    assert service.http.get("/v1/jobs").json()["jobs"] == []


def test_before_and_after_are_played_as_one(page: Any, service: serving.Served, media: serving.Media) -> None:
    put_in(page, service.url, media.film, media.speech)
    page.click("#draft")
    page.wait_for_selector(".job .compare:not([hidden])", timeout=2 * SECOND)
    assert "draft" in page.inner_text(".job h3")
    page.wait_for_selector(".job .before", state="attached")
    until(lambda: page.evaluate("() => [...document.querySelectorAll('.job video')].every((v) => v.readyState > 0)"))
    page.locator(".job .seek").evaluate("e => { e.value = 500; e.dispatchEvent(new Event('input')); }")

    def follows() -> bool:
        after, before = page.evaluate("() => [...document.querySelectorAll('.job video')].map((v) => v.currentTime)")
        return after > 0.1 and abs(after - before) < 0.06

    until(follows)
    page.locator(".job .split").evaluate("e => { e.value = 20; e.dispatchEvent(new Event('input')); }")
    assert "80%" in page.evaluate("() => document.querySelector('.job .before').style.clipPath")


def test_a_page_that_was_closed_finds_its_jobs_again(
    page: Any, browser: Any, queue: serving.Served, media: serving.Media
) -> None:
    put_in(page, queue.url, media.film, media.speech)
    page.click("#make")
    page.wait_for_selector(".job")
    assert page.inner_text(".job .state").startswith("Waiting")
    page.close()
    again = browser.new_page()
    again.goto(queue.url)
    again.wait_for_selector(".job")
    again.click(".job .actions button >> text=Stop")
    again.wait_for_selector(".job .state >> text=Stopped")
    again.close()
    assert [job["state"] for job in queue.http.get("/v1/jobs").json()["jobs"]] == ["cancelled"]


def test_a_name_that_is_markup_is_shown_as_text(
    page: Any, queue: serving.Served, media: serving.Media, tmp_path: Path
) -> None:
    evil = tmp_path / "<img src=x onerror=document.title='broken'>.mp4"
    evil.write_bytes(media.film.read_bytes())
    put_in(page, queue.url, evil, media.speech)
    page.click("#make")
    until(lambda: "<img src=x" in page.inner_text(".job:first-child h3"))
    assert page.title() == "LatentSync"
    assert page.locator(".job img[src=x]").count() == 0


def test_several_speeches_are_a_plan_that_can_be_taken_along(
    page: Any, queue: serving.Served, media: serving.Media, tmp_path: Path
) -> None:
    put_in(page, queue.url, media.film, media.speech)
    page.click("#plan summary")
    page.set_input_files("#plan-audio", [media.speech, media.other])
    page.wait_for_selector("#plan-rows tr:nth-child(2)", timeout=SECOND)
    page.fill("#plan-rows tr:nth-child(2) .start", "0.3")
    with page.expect_download() as download:
        page.click("#plan-export")
    text = Path(str(download.value.path())).read_text()
    assert text.splitlines()[0] == "audio,face,start,end" and "other.wav,,0.3," in text
    page.click("#make")
    newest = until(lambda: next((job for job in queue.http.get("/v1/jobs").json()["jobs"] if job["plan"]), None))
    assert [entry["start"] for entry in newest["plan"]] in ([0, "0.3"], [0, 0.3], ["0", "0.3"])


def test_what_is_no_film_is_said_in_words(page: Any, queue: serving.Served, tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    page.goto(queue.url)
    page.set_input_files("#video", tmp_path / "talk.mp4")
    page.wait_for_selector("#problem:not([hidden])", timeout=SECOND)
    assert "Git LFS" in page.inner_text("#problem")


def test_it_can_be_used_with_the_keyboard_alone(page: Any, queue: serving.Served) -> None:
    page.goto(queue.url)
    page.wait_for_selector("#version >> text=LatentSync")
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("() => document.activeElement.id || document.activeElement.tagName"))
    assert {"video", "audio", "record"} <= set(seen) and "SUMMARY" in seen
