"""What a caller passes in Python, checked: paths, options, sound and pictures, each refused with the remedy."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.audio.streaming import Sound, sound_of
from latentsync.config.checked import refuse_unknown
from latentsync.config.options import SyncOptions, check_number
from latentsync.core.errors import ConfigError
from latentsync.media import AudioReader, RgbPicture

OF_FILES = ("length", "start_s", "end_s", "audio_start_s")
"""Options that say which part of a file is used: a stream takes all it gets."""

LOUDEST = 100.0
"""Samples beyond this are counted in steps of an integer; sound that is only too loud stays below 10."""


def path_of(key: str, value: object, instead: str = "") -> Path:
    """A path. Raises: ConfigError: it is none; `instead` says what else to do with arrays and the like."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        given = "''" if isinstance(value, str) else type(value).__name__
        raise ConfigError(key, given, f"give the path of a file{instead}")
    return Path(value)


def changed(options: SyncOptions | None, changes: dict[str, Any]) -> SyncOptions:
    """Options with single fields changed. Raises: ConfigError: no such field, or `options` are none."""
    if not isinstance(options, SyncOptions | None):
        raise ConfigError("options", type(options).__name__, "give a SyncOptions, or its fields one by one: seed=3")
    refuse_unknown(changes, list(SyncOptions.__dataclass_fields__))
    return replace(options or SyncOptions(), **changes)


def stream_options(options: SyncOptions | None, changes: dict[str, Any]) -> SyncOptions:
    """The same for frames that come one by one. Raises: ConfigError: see `changed`; a part or a length is asked for."""
    made = changed(options, changes)
    for key in OF_FILES:
        if getattr(made, key) is not None:
            raise ConfigError(key, getattr(made, key), "leave it out: a stream uses all the frames that it is given")
    return made


def sound_given(audio: object, track: str | None = None) -> Sound:
    """A file's sound or a wave's. Raises: ConfigError: neither a path nor an array, see `_wave`."""
    if isinstance(audio, np.ndarray):
        return _wave(audio)
    if not isinstance(audio, (str, Path)):
        raise ConfigError("audio", type(audio).__name__, "give a file, or one (S,) float32 array of 16 kHz mono sound")
    return AudioReader(Path(audio), track=track).blocks


def _wave(wave: np.ndarray) -> Sound:
    """A wave in memory. Raises: ConfigError: it has channels, no samples, or is not of floating-point numbers."""
    given = f"{wave.dtype} array {wave.shape}"
    fix = "give mono sound at 16 kHz as (S,) float32 in [-1, 1]"
    if wave.dtype == np.int16:
        fix += "; of 16-bit samples: (array / 32768).astype(np.float32)"
    if wave.ndim != 1 or not len(wave) or not np.issubdtype(wave.dtype, np.floating):
        raise ConfigError("audio", given, fix)
    if not np.isfinite(wave).all():
        raise ConfigError("audio", "NaN or infinite samples", "give finite samples in [-1, 1]")
    peak = float(np.abs(wave).max())
    if peak > LOUDEST:
        raise ConfigError("audio", f"{given} with samples up to {peak:g}", f"{fix}; of 16-bit samples: array / 32768")
    return sound_of(wave.astype(np.float32, copy=False))


def checked_rate(fps: Fraction | float) -> Fraction:
    """Frames a second, with a denominator of at most 1001. Raises: ConfigError: it is no number above 0."""
    check_number("fps", fps)
    rate = Fraction(fps).limit_denominator(1001)
    if rate <= 0:
        raise ConfigError("fps", fps, "choose a number above 0, as 25 or Fraction(30000, 1001)")
    return rate


def checked_picture(value: object, index: int) -> RgbPicture:
    """A picture in memory, copied: frames wait for a chunk, and a caller may fill the same array with the next one.

    Raises: ConfigError: it is no (H, W, 3) uint8 array.
    """
    if not isinstance(value, np.ndarray):
        raise ConfigError("frames", f"{type(value).__name__} at {index}", "give Frames, or (H, W, 3) uint8 RGB arrays")
    if value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3 and value.size:
        return RgbPicture(value.copy())
    fix = "give (H, W, 3) uint8 RGB arrays"
    if value.dtype != np.uint8:
        fix += "; of floats in [0, 1]: (255 * array).round().astype(np.uint8)"
    elif value.ndim == 2:
        fix += "; of grey ones: np.repeat(array[..., None], 3, axis=2)"
    elif value.ndim == 3 and value.shape[2] == 4:
        fix += "; without the fourth channel: array[..., :3]"
    raise ConfigError("frames", f"{value.dtype} array {value.shape} at {index}", fix)
