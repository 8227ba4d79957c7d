"""Loading the face networks prints nothing, and nothing else is swallowed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from latentsync.faces.quiet import NOTE, without_delegate_note


def test_loading_the_networks_prints_nothing() -> None:
    code = "from latentsync.faces import MeshTracker\nMeshTracker(offline=True).open()\nprint('opened')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("opened\n", "")


def test_everything_else_gets_through(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), without_delegate_note():
        os.write(2, b"ERROR: the model is broken\n" + NOTE + b"\nWARNING: half a line")
        raise RuntimeError
    os.write(2, b" and its end\n")
    assert capfd.readouterr().err == "ERROR: the model is broken\nWARNING: half a line and its end\n"
