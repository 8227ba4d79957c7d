"""Puts this folder on the path, so that tests of every floor, and programs they start, can import its helpers.

The networks in tests are tiny: a second thread would only wait for the first.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
_here = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join([_here, *filter(None, [os.environ.get("PYTHONPATH")])])

from hypothesis import settings  # noqa: E402 - torch counts its threads once

settings.register_profile("no deadline", deadline=None)  # a busy machine is not a failure
settings.load_profile("no deadline")
