"""Plain keys and values become dataclasses: unknown keys are refused, each value has the kind that its field says.

Every file of settings (presets, recipes, `config.json` of a network, settings of a data build) is read by `checked`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from latentsync.config.times import parse_time
from latentsync.core.errors import ConfigError

Made = TypeVar("Made")


def checked(kind: type[Made], given: Any, where: str = "", **read: Any) -> Made:
    """A dataclass from plain keys and values.

    Args:
        where: dotted name of the section, for messages; "" = the keys stand at the top.
        read: fields whose values have been read already, by name.
    Raises: ConfigError: no mapping; an unknown key (with the nearest known one); a missing one; a value of another
        kind, or out of the range that the dataclass itself allows.
    """
    values = checked_values(kind, given, where, read)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.init and field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(_dotted(where, field.name), None, "is missing")
    return kind(**values)


def checked_values(kind: type, given: Any, where: str = "", read: Collection[str] = ()) -> dict[str, Any]:
    """The values of `checked` without the dataclass around them, for those that are completed before. Errors as there.

    Args: read: as there, or names of fields whose values are taken as they are.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(where or "settings", given, "write 'key: value' pairs below it, or leave it out")
    hints, known = get_type_hints(kind), [field.name for field in fields(kind) if field.init]
    refuse_unknown(given, known, where)
    kept = dict(read) if isinstance(read, Mapping) else {}
    return {
        name: value if name in read else as_kind(_dotted(where, name), value, hints[name])
        for name, value in given.items()
    } | kept


def refuse_unknown(given: Collection[Any], known: Collection[str], where: str = "") -> None:
    """Raises: ConfigError: a key that is not among the known ones; it names the nearest, or all."""
    for key in given:
        if key not in known:
            value = given[key] if isinstance(given, Mapping) else None
            raise ConfigError(_dotted(where, str(key)), value, f"unknown setting; {meant(str(key), known)}")


def meant(word: str, known: Collection[str]) -> str:
    """`did you mean …?`, or the list of what there is."""
    close = get_close_matches(word[:100], list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def as_kind(key: str, value: Any, hint: Any) -> Any:
    """`value` as the annotated kind, without guessing: an int may stand for a float, text never for a number.

    Lists become tuples, and mappings the dataclass that is asked for. Raises: ConfigError: it is of another kind.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if hint is Any or (value is None and type(None) in kinds):
        return value
    for kind in kinds:
        made = _as_one(key, value, kind)
        if made is not None:
            return made
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if all(get_origin(kind) is Literal for kind in kinds):
        words = [str(word) for kind in kinds for word in get_args(kind)]
        raise ConfigError(key, value, f"choose one of {', '.join(words)}")
    raise ConfigError(key, value, f"expected {' or '.join(map(_named, kinds))}")


def _as_one(key: str, value: Any, kind: Any) -> Any:
    """`value` as one kind, None where it is not of that kind."""
    origin, is_number = get_origin(kind), isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is Any or (kind in (int, bool) and type(value) is kind):
        return value
    if origin is Literal:
        return value if value in get_args(kind) else None
    if kind is float and is_number:
        return _finite(key, value)
    if kind is Fraction and isinstance(value, (int, float, str, Fraction)) and not isinstance(value, bool):
        return value if isinstance(value, Fraction) else parse_time(key, str(value))
    if kind is str and isinstance(value, (int, str)) and not isinstance(value, bool):
        return as_text(key, value)  # `face: 0` in YAML is a number
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else checked(kind, value, key) if isinstance(value, Mapping) else None
    if origin is tuple or kind is tuple:
        return _as_tuple(key, value, get_args(kind))
    is_mapping = kind is dict or origin is dict or kind is Mapping or origin is Mapping
    return dict(value) if is_mapping and isinstance(value, Mapping) else None


def _as_tuple(key: str, value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not isinstance(value, (list, tuple)):
        return None
    if not kinds:
        return tuple(value)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ConfigError(key, value, f"expected {len(kinds)} values, [{', '.join(_named(kind) for kind in kinds)}]")
    return tuple(as_kind(key, each, kind) for each, kind in zip(value, kinds, strict=True))


def _finite(key: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(key, value, "give a finite number")
    return number


def as_text(key: str, value: int | str) -> str:
    """Text as it is, and a number as it is written. Raises: ConfigError: one of thousands of digits."""
    try:
        return str(value)
    except ValueError as error:
        raise ConfigError(key, value, "give a shorter number") from error


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple or kind is tuple:
        return "a list"
    if is_dataclass(kind) or get_origin(kind) in (dict, Mapping) or kind in (dict, Mapping):
        return "'key: value' pairs"
    return str(getattr(kind, "__name__", kind))
