"""From words to a task: task modules by name, presets by name or file, single changes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from latentsync.config import renamed
from latentsync.config.checked import checked, meant
from latentsync.config.loader import load_preset, parse_value, preset_names
from latentsync.core.errors import ConfigError
from latentsync.core.reading import name_refused
from latentsync.training import tasks
from latentsync.training.engine.config import SmokeConfig, TrainConfig

SECTIONS = ("loop", "task", "smoke")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A preset with the changes applied: `loop`, the settings of the task, and the smoke run if the preset has one."""

    loop: TrainConfig
    task: Mapping[str, Any]
    smoke: SmokeConfig | None


TASKS = ("autoencoder", "audio_encoder", "lip_predictor", "syncnet", "unet")


def task_names() -> tuple[str, ...]:
    """Tasks that come with the package."""
    there = {module.name for module in iter_modules(tasks.__path__)}
    return tuple(name for name in TASKS if name in there)


def task_module(name: str) -> str:
    """Module of a task: one of ours by name, or the dotted name of anyone's module with a `build`.

    Raises: ConfigError: there is no such task.
    """
    known, name = task_names(), renamed.TASKS.get(name, name)
    if name in known:
        return f"latentsync.training.tasks.{name}"
    try:
        if "." in name and find_spec(name) is not None:
            return name
    except ModuleNotFoundError:
        pass
    raise ConfigError("task", name, f"no such task; {meant(name, known)}")


def build_task(name: str, settings: Mapping[str, Any], data: Sequence[Path], start: Path | None, seed: int) -> Any:
    """The task `build` of its module makes. Raises: ConfigError: no such task, or what `build` refuses."""
    if name == "unet" and settings.get("objective") == "few_step":
        name = "latentsync.training.tasks.tiny_unet"
    return import_module(task_module(name)).build(settings, data, start=start, seed=seed)


def recipe(task: str, preset: str | None = None, changes: Sequence[str] = (), minutes: float | None = None) -> Recipe:
    """Defaults < preset < `--set section.key=value` < `--minutes`. Steps and minutes take the place of a preset's.

    Args: preset: name or path of a YAML file; None = `default`, where the task has one, else the loop's defaults.
    Raises: ConfigError: unknown preset, section or key (with what may have been meant), a value out of range, or both
        steps and minutes asked for.
    """
    task = renamed.TASKS.get(task, task)
    kind = f"train/{task}"
    known = preset_names(kind)
    if preset is None:
        found = load_preset("default", kind) if "default" in known else {}
    elif renamed.PRESETS.get(preset, preset) in known or name_refused(Path(preset)) or Path(preset).exists():
        found = load_preset(preset, kind)
    else:
        raise ConfigError(
            "preset", preset, f"no such preset of {task}; {meant(preset, known) if known else 'give a YAML file'}"
        )
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, values in found.items():
        if name not in SECTIONS:
            raise ConfigError(f"preset.{name}", values, f"unknown section; {meant(name, SECTIONS)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"preset.{name}", values, "write one 'key: value' a line below it")
        sections[name].update(values)
    given = dict(change.split("=", 1) for change in changes if "=" in change)
    lengths = [key for key in ("steps", "minutes") if parse_value(given.get(f"loop.{key}", "null")) is not None]
    if minutes is not None and "steps" in lengths:
        raise ConfigError("minutes", minutes, "--set loop.steps says the length already; give one of the two")
    if len(lengths) == 1:
        # a length that is asked for takes the place of the preset's, whichever it has
        sections["loop"] = {key: value for key, value in sections["loop"].items() if key not in ("steps", "minutes")}
    for change in changes:
        _apply(sections, change)
    sections["task"] = renamed.task_settings(sections["task"])
    if minutes is not None:
        sections["loop"] |= {"minutes": minutes, "steps": None}
    smoke = checked(SmokeConfig, sections["smoke"], "smoke") if sections["smoke"] else None
    if smoke is not None and not {"steps", "minutes"} & set(sections["loop"]):
        sections["loop"]["steps"] = smoke.steps
    return Recipe(loop=checked(TrainConfig, sections["loop"], "loop"), task=sections["task"], smoke=smoke)


def _apply(sections: dict[str, dict[str, Any]], change: str) -> None:
    """`loop.steps=100` into its section; a dotted rest reaches into nested settings of the task."""
    name, equals, text = change.partition("=")
    section, *path = name.split(".")
    if not equals or not path or not all(path):
        raise ConfigError("set", change, "write SECTION.KEY=VALUE, as in loop.steps=100")
    if section not in SECTIONS:
        raise ConfigError("set", change, f"unknown section; {meant(section, SECTIONS)}")
    at = sections[section]
    for key in path[:-1]:
        inner = at.get(key)
        at[key] = dict(inner) if isinstance(inner, Mapping) else {}
        at = at[key]
    at[path[-1]] = parse_value(text)


def described(made: Recipe) -> dict[str, Any]:
    """A recipe as plain values."""
    return {"loop": asdict(made.loop), "task": dict(made.task), "smoke": made.smoke and asdict(made.smoke)}
