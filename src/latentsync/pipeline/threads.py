"""Threads that share few cores: how the libraries below are asked to behave. No torch here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

POLICY = "OMP_WAIT_POLICY"


@contextmanager
def sleeping_waits() -> Iterator[None]:
    """Inside the block, a first import of torch gets OpenMP threads that sleep while they wait.

    The default is to spin, which on two cores shared with other work costs tiny five times the processor time and six
    times the clock (benchmarks/waiting.py). OpenMP reads the setting from the environment once, when it is
    loaded; afterwards the environment is as it was. A user's own setting wins, and where torch is loaded already
    nothing can be done.
    """
    if POLICY in os.environ or "torch" in sys.modules:
        yield
        return
    os.environ[POLICY] = "PASSIVE"
    try:
        yield
    finally:
        os.environ.pop(POLICY, None)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Inside the block OpenCV works in the thread that calls it.

    Reading, the model and writing have a thread each; what OpenCV does for one face is too short to be shared out, and
    a thread that waits for a busy core costs more than it does.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
