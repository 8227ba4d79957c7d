"""Presets and user files become checked options. Defaults < preset or file < single changes; YAML is read here only."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import yaml

from latentsync.config import renamed
from latentsync.config.checked import checked
from latentsync.config.options import SyncOptions
from latentsync.config.yaml_text import parse_yaml, problem
from latentsync.core.errors import ConfigError, MediaError, MissingExtraError, shown
from latentsync.core.reading import name_refused, read_text


def parse_value(text: str) -> object:
    """The value of a `--set key=value`, read as YAML: `3`, `1e-4`, `true`, `null`, `[0.9, 0.99]`, else text."""
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError):
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
    if name_or_path not in preset_names(kind):
        name_or_path = renamed.PRESETS.get(name_or_path, name_or_path)
    if name_or_path in preset_names(kind):
        text = (resources.files("latentsync.config") / "presets" / kind / f"{name_or_path}.yaml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if name_refused(path) is None and not path.exists():
            known = ", ".join(preset_names(kind))
            raise ConfigError("preset", name_or_path, f"choose {known}, or the path of a YAML file")
        try:
            text = read_text(path)
        except MediaError as error:
            raise ConfigError("preset", name_or_path, str(error).removeprefix(f"{path}: ")) from error
    try:
        loaded = parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError("preset", name_or_path, f"not valid YAML{problem(error)}") from error
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
        return checked(SyncOptions, own | dict(changes or {}))


@contextmanager
def preset_named(preset: str | None, changes: Container[str]) -> Iterator[dict[str, object]]:
    """Errors about a setting that comes from a preset name that too. Yields: the preset's own keys and values.

    Args: changes: keys that were set beside the preset, which are not its fault.
    """
    own: dict[str, object] = {} if preset is None else load_preset(preset)
    own = {key: value for key, value in own.items() if renamed.NO_CHOICE.get(key) != value}
    try:
        yield own
    except ConfigError as error:
        if error.key not in own or error.key in changes or isinstance(error, MissingExtraError):
            raise
        raise ConfigError("preset", preset, f"{shown(error.key)} {shown(error.value)}: {error.fix}") from error
