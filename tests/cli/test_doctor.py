"""`latentsync doctor`: what it says of this machine, and of one where something is missing or slow."""

from __future__ import annotations

import json

import pytest

from latentsync.cli import examination


def by_name(out: str) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(out)}


def test_json_tells_versions_device_format_codecs_and_models(run) -> None:
    given = run("doctor", "--json")
    found = by_name(given.out)
    assert given.code == 0 and given.err == ""
    assert {"Python", "torch", "cores", "chosen", "number format", "memory", "H.264", "model tiny"} <= set(found)
    assert found["number format"]["value"] in ("bfloat16", "float16", "float32")
    assert all(finding["state"] in ("ok", "note", "slow", "broken") for finding in found.values())


def test_a_missing_package_is_broken_with_its_remedy(run, monkeypatch: pytest.MonkeyPatch) -> None:
    there = examination.installed
    monkeypatch.setattr(examination, "installed", lambda name: None if name == "av" else there(name))
    given = run("doctor")
    assert given.code == 1
    assert "✗ av" in given.out and "→ pip install av" in given.out
    assert given.out.rstrip().endswith("1 to mend before lip-sync can work")
    assert "libx264" not in given.out


def test_what_is_slow_is_told_with_its_reason(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentsync.generation import precision

    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(examination, "cores", lambda: (8, 1.5))
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: False)
    found = by_name(run("doctor", "--json").out)
    assert found["waiting threads"]["state"] == "slow" and "OMP_WAIT_POLICY" in found["waiting threads"]["advice"]
    assert found["cores"]["value"] == "8, limited to 1.5" and "OMP_NUM_THREADS=2" in found["cores"]["advice"]
    if found["chosen"]["value"] == "cpu":
        assert found["number format"]["value"] == "float32" and found["number format"]["state"] == "slow"


def test_an_encoder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "ENCODERS", {"H.264": "no_such_encoder", "Opus": "nor_this"})
    found = {finding.name: finding for finding in examination.codecs()}
    assert found["H.264"].state == "broken" and found["Opus"].state == "note"
