"""One line that a native library insists on printing, left out; everything else it says gets through."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NOTE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
_STDERR = 2
_lock = threading.Lock()


@contextmanager
def without_delegate_note() -> Iterator[None]:
    """Inside the block, what goes to the process's stderr is held back; after it, all but `NOTE` is written there.

    LiteRT has no setting for this line (google-ai-edge/LiteRT issue 7420). Where there is no stderr nothing is done.
    """
    with _lock:
        try:
            before = os.dup(_STDERR)
        except OSError:
            yield
            return
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        except OSError:  # nowhere to hold it back: the line is shown
            os.close(before)
            yield
            return
        with file as held:
            os.dup2(held.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(before, _STDERR)
                os.close(before)
                held.seek(0)
                rest = b"".join(line for line in held if line.strip() != NOTE)
                if rest:
                    with suppress(OSError):  # a stderr that takes no more
                        os.write(_STDERR, rest)
