"""Errors a user can fix. Everything else is our bug and flies (see docs/errors.md)."""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST_SHOWN = 300
"""Letters of a value that a message repeats; of a longer one its beginning and end."""


def shown(value: object, kind: Callable[[object], str] = str) -> str:
    """A value for a message, at most `LONGEST_SHOWN` letters long. Args: kind: `str` or `repr`."""
    try:
        text = kind(value)
    except (ValueError, RecursionError):  # an int of thousands of digits, lists in lists in lists
        return f"a {type(value).__name__} too long to show"
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]}…{text[-half:]}"


class LatentSyncError(Exception):
    """Base of every error that a user can fix. The message says what, where and what to do, in one line."""

    def __str__(self) -> str:
        """In one line, also where it repeats what a library said in several."""
        return re.sub(r"\s*[\r\n]\s*", " ", super().__str__()).strip()


class MediaError(LatentSyncError):
    """A video, picture or sound file cannot be read or written as asked."""


class EmptyAudioError(MediaError):
    """There is no sound to listen to."""


class NoFaceError(LatentSyncError):
    """No face was found where one is needed."""


class WeightsError(LatentSyncError):
    """A checkpoint is missing, damaged, unsafe, or does not fit the architecture it is loaded into."""


class OfflineError(WeightsError):
    """A download is needed but downloads are switched off or impossible."""


class ConfigError(LatentSyncError):
    """A setting is unknown, out of range or contradicts another one.

    Args:
        key: dotted name of the setting, as the user writes it.
        value: what was given.
        fix: what to write instead, as a short imperative clause.
    """

    def __init__(self, key: str, value: object, fix: str) -> None:
        super().__init__(f"{shown(key)}={shown(value, repr)}: {fix}")
        self.key, self.value, self.fix = key, value, fix

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.value, self.fix)  # on the way from a worker process


class MissingExtraError(ConfigError):
    """A package of one of our extras is not installed.

    Args:
        extra: of `pip install 'latentsync[extra]'`.
        package: what was looked for.
    """

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(extra, package, f"install the extra first: pip install 'latentsync[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.value)

    def __str__(self) -> str:
        return f"{self.value} is not installed; {self.fix}"


class Stopped(LatentSyncError):
    """The caller asked to stop. Nothing was written, unless it says so."""
