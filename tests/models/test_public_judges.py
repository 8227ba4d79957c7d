"""Public judges: fetched once from where they are published, and held to a hash."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.core.errors import OfflineError, WeightsError
from latentsync.models.weights import judges

CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "judges"


def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sha256: str | None) -> str:
    """`name` as if its file were our CONTENT; the address."""
    (tmp_path / "there.bin").write_bytes(CONTENT)
    monkeypatch.setitem(judges.JUDGES, name, replace(judges.JUDGES[name], sha256=sha256))
    return (tmp_path / "there.bin").as_uri()


def test_a_known_hash_decides_what_is_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = published(tmp_path, monkeypatch, "sface", "0" * 64)
    with pytest.raises(WeightsError, match="holds something else today"):
        judges.fetch_judge("sface", address=address)
    assert list(cache.iterdir()) == []
    address = published(tmp_path, monkeypatch, "sface", hashlib.sha256(CONTENT).hexdigest())
    path = judges.fetch_judge("sface", address=address)
    assert path.read_bytes() == CONTENT
    assert judges.find_judge("sface") == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="models fetch sface"):
        judges.find_judge("sface")


def test_an_unknown_hash_is_recorded_and_compared_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = published(tmp_path, monkeypatch, "i3d", None)
    path = judges.fetch_judge("i3d", address=address)
    assert judges.find_judge("i3d") == path
    path.write_bytes(b"another")
    with pytest.raises(WeightsError, match="damaged or changed"):
        judges.find_judge("i3d")


def test_what_is_not_here_is_told_with_the_way_by_hand(tmp_path: Path) -> None:
    assert judges.find_judge("syncnet-v2") is None
    with pytest.raises(OfflineError, match=r"put it there as .*syncnet_v2\.model"):
        judges.fetch_judge("syncnet-v2", offline=True)
    with pytest.raises(OfflineError, match="cannot be read"):
        judges.fetch_judge("vgg16", address=(tmp_path / "none.bin").as_uri())
    with pytest.raises(WeightsError, match="Choose syncnet-v2"):
        judges.fetch_judge("arcface")


def test_every_judge_says_its_terms_and_its_scores() -> None:
    for judge in judges.JUDGES.values():
        assert judge.scores and judge.licence.name and judge.licence.url.startswith("https://")
        assert judge.address.startswith("https://")
        assert judge.sha256 is None or len(judge.sha256) == 64
    assert {score for judge in judges.JUDGES.values() for score in judge.scores} == {
        "LSE-C", "LSE-D", "FID", "FVD", "LPIPS", "CSIM",
    }  # fmt: skip
