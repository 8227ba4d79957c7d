"""Puts this folder on the path, so that tests of every floor can import its helpers.

The networks in tests are tiny: a second thread would only wait for the first.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # a busy machine is not a failure
settings.load_profile("no deadline")
