"""A real browser, and a service with a worker. Without Chromium these tests say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")

import serving  # noqa: E402 - after the extra is looked for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with playwright.sync_playwright() as running:
        shown = running.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield shown
        shown.close()


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> serving.Media:
    return serving.make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def service(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    with serving.served(tmp_path_factory.mktemp("service"), media) as running:
        yield running


@pytest.fixture(scope="module")
def queue(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    """A service without workers: jobs wait."""
    with serving.served(tmp_path_factory.mktemp("queue"), media, "--workers", "0") as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page that fails the test on an error of its own."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, accept_downloads=True)
    shown = context.new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    told = "Failed to load resource"  # an answer with an error, which the page shows
    shown.on(
        "console", lambda line: errors.append(line.text) if line.type == "error" and told not in line.text else None
    )
    yield shown
    context.close()
    assert not errors
