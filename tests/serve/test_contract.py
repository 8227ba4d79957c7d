"""The interface does what its own description says, whatever is sent: schemathesis over the OpenAPI file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import serving

CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"


@pytest.mark.slow
def test_what_is_sent_at_random_is_answered_as_described(media: serving.Media, tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed (pip install schemathesis)")
    with serving.served(tmp_path / "data", media) as service:
        words = [program, "run", f"{service.url}/v1/openapi.json", "--max-examples", "25", "--checks", CHECKS]
        more = ["--phases", "examples,coverage,fuzzing", "--exclude-path-regex", "events", "--generation-deterministic"]
        done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_description_has_examples(doors: serving.Served) -> None:
    described = doors.http.get("/v1/openapi.json").json()
    shapes = described["components"]["schemas"]
    assert all(shapes[name]["examples"] for name in ("JobRequest", "Generate"))
    assert {"/v1/jobs", "/v1/uploads", "/v2/generate", "/healthz", "/metrics"} <= set(described["paths"])
