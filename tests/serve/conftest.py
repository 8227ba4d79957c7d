"""A small model in a folder, a second of the sample film, and services as processes of their own, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import serving


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> serving.Media:
    return serving.make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def service(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    """A service with one worker."""
    with serving.served(tmp_path_factory.mktemp("service"), media) as running:
        yield running


@pytest.fixture(scope="module")
def doors(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    """A service without workers: what is put in stays in the queue."""
    with serving.served(tmp_path_factory.mktemp("doors"), media, "--workers", "0") as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
