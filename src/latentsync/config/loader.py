"""Presets and user files become checked options. Defaults < preset or file < single changes; YAML is read here only."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, MissingExtraError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes `1e-4` for text; here it is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_value(text: str) -> object:
    """The value of a `--set key=value`, read as YAML: `3`, `1e-4`, `true`, `null`, `[0.9, 0.99]`, else text."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def preset_names(kind: str = "sync") -> tuple[str, ...]:
    """Names of the shipped presets of one kind (`sync`, `train/unet`), sorted; none where there is no such kind."""
    folder = resources.files("latentsync.config") / "presets" / kind
    if not folder.is_dir():
        return ()
    return tuple(sorted(item.name[: -len(".yaml")] for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_preset(name_or_path: str, kind: str = "sync") -> dict[str, object]:
    """Read a shipped preset by name, or the user's own YAML file by path, as plain keys and values (not yet checked).

    Raises: ConfigError: there is no such preset or file, or it isn't a YAML mapping.
    """
    if name_or_path in preset_names(kind):
        text = (resources.files("latentsync.config") / "presets" / kind / f"{name_or_path}.yaml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            known = ", ".join(preset_names(kind))
            raise ConfigError("preset", name_or_path, f"choose {known}, or the path of a YAML file")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("preset", name_or_path, f"cannot be read as text ({error})") from error
    try:
        loaded = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise ConfigError("preset", name_or_path, f"not valid YAML{line}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError("preset", name_or_path, "write one 'key: value' a line")
    return {str(key): value for key, value in loaded.items()}


def sync_options(preset: str | None = None, changes: Mapping[str, object] | None = None) -> SyncOptions:
    """Options of one run: the defaults, then a preset (name or YAML path), then single changes.

    Raises: ConfigError: an unknown key, a value of the wrong kind or out of range, or a contradiction.
    """
    with preset_named(preset, changes or {}) as own:
        merged = own | dict(changes or {})
        hints = get_type_hints(SyncOptions)
        known = [field.name for field in fields(SyncOptions)]
        for key, value in merged.items():
            if key not in known:
                close = get_close_matches(key, known, n=1)
                fix = f"did you mean {close[0]}?" if close else "see docs/usage.md"
                raise ConfigError(key, value, f"unknown setting; {fix}")
            merged[key] = as_kind(key, value, hints[key])
        return SyncOptions(**merged)  # type: ignore[arg-type]


@contextmanager
def preset_named(preset: str | None, changes: Container[str]) -> Iterator[dict[str, object]]:
    """Errors about a setting that comes from a preset name that too. Yields: the preset's own keys and values.

    Args: changes: keys that were set beside the preset, which are not its fault.
    """
    own: dict[str, object] = {} if preset is None else load_preset(preset)
    try:
        yield own
    except ConfigError as error:
        if error.key not in own or error.key in changes or isinstance(error, MissingExtraError):
            raise
        raise ConfigError("preset", preset, f"{error.key} {error.value}: {error.fix}") from error


def parse_time(key: str, text: str) -> Fraction:
    """Exact seconds from `12.5`, `1:02.5` or `1:00:02.5`.

    Raises: ConfigError: anything else, or a negative time.
    """
    try:
        parts = [Fraction(part) for part in text.strip().split(":")]
    except (ValueError, ZeroDivisionError):
        parts = []
    if parts and parts[0] < 0:
        raise ConfigError(key, text, "choose 0 or later: times count from the start of the video")
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts) or any(part >= 60 for part in parts[1:]):
        raise ConfigError(key, text, "write seconds (12.5), minutes:seconds (1:02.5) or hours:minutes:seconds")
    seconds = Fraction(0)
    for part in parts:
        seconds = seconds * 60 + part
    return seconds


def as_kind(key: str, value: object, hint: Any) -> object:
    """`value` as the annotated kind, without guessing: an int may stand for a float, text never for a number."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is Fraction and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return parse_time(key, str(value))
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ConfigError(key, value, "give a finite number")
            return float(value)
        if kind is str and isinstance(value, (int, str)) and not isinstance(value, bool):
            return str(value)  # `face: 0` in YAML is a number
        if get_origin(kind) is Literal or (kind in (int, bool, Fraction) and type(value) is kind):
            return value
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds if kind is not type(None))
    raise ConfigError(key, value, f"expected {wanted}")
