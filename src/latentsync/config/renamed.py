"""Names that earlier versions wrote into files, and today's names for them: the one table.

Model folders, checkpoints, presets, data settings and command lines of earlier versions go through it when they are
read. Nothing writes an old name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

PARTS = {"listener": "audio_encoder"}
"""Parts of a model folder, and their licences."""
CLASSES = {"Listener": "AudioEncoder"}
"""Network classes in `model_index.json`."""
TENSORS = {"ear.": "lip_predictor."}
"""Beginnings of the names of tensors."""
TASKS = {"listener": "audio_encoder", "ear": "lip_predictor"}
"""Training tasks, in checkpoints and on the command line."""
PRESETS = {"tiny_critic": "tiny_discriminator"}
"""Presets of all kinds."""
JUDGES = {"ear": "lip_opening"}
"""Values of `sync.judge` in data settings."""
FILES = {"ear.safetensors": "lip_predictor.safetensors"}
"""Files of a training component."""
TASK_SETTINGS: dict[str, str] = {
    "ear": "lip_predictor",
    "listener_rate": "audio_encoder_rate",
    "token_positions": "position_code",
    "audio_drop": "condition_dropout",
    "few_step.told": "few_step.teacher_forcing",
    "few_step.told_noise": "few_step.lip_param_noise",
    "few_step.overhears": "few_step.audio_shuffle_prob",
    "few_step.heard_noise": "few_step.audio_feature_noise",
    "few_step.audio_drop": "few_step.condition_dropout",
    "few_step.critic_weight": "few_step.discriminator_weight",
    "critic_learning_rate": "discriminator_learning_rate",
    "components.listener": "components.audio_encoder",
}
"""Keys of a preset's `task:` section, dotted."""

MODEL_SETTINGS = {"token_positions": "position_code"}
"""Keys of a model folder's `settings`."""
TINY_SETTINGS = {
    "window": "window",
    "residual": "residual",
    "reference_texture": "detail_residual",
    "reference_teeth": "teeth_colour_guard",
    "keep_latents": "keep_latents",
}
"""Keys of `settings` that lie in its section `tiny` today; `still_reference` said that there is such a section."""

NO_CHOICE = {"sampler": "auto"}
"""Options of a run that had one value: presets may still say it."""

Value = TypeVar("Value")


def tensor_name(name: str) -> str:
    """Today's name of a tensor."""
    return next((new + name.removeprefix(old) for old, new in TENSORS.items() if name.startswith(old)), name)


def tensors(state: Mapping[str, Value]) -> dict[str, Value]:
    """The same tensors under today's names."""
    return {tensor_name(name): value for name, value in state.items()}


def task_settings(settings: Mapping[str, Any], table: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A preset's `task:` section with today's keys. Where both are there, today's wins."""
    out = {key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()}
    for old, new in (TASK_SETTINGS if table is None else table).items():
        home, _, key = old.rpartition(".")
        place = out.get(home) if home else out
        if isinstance(place, dict) and key in place:
            value = place.pop(key)
            place.setdefault(new.rpartition(".")[2], value)
    return out


def existing(path: Path) -> Path:
    """A file, or the one of its earlier name where only that is there."""
    earlier = (path.with_name(old) for old, new in FILES.items() if new == path.name)
    return path if path.exists() else next((each for each in earlier if each.exists()), path)


def model_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model folder's `settings` with today's keys: what concerns the small model alone lies in `tiny`.

    Keys that contradict one another, and values of another kind, stay as they are: whoever reads the settings refuses
    them.
    """
    out = {MODEL_SETTINGS.get(key, key): value for key, value in settings.items()}
    flags = {key: out[key] for key in _TINY_FLAGS if key in out}
    if "tiny" in out or not all(type(value) is bool for value in flags.values()):
        return out
    if not flags.get("still_reference"):
        return {key: value for key, value in out.items() if key not in _OLD_TINY or value}
    warp = "lips" if flags.get("shaped_references") else "pose" if flags.get("posed_references") else "none"
    tiny = {"num_references": 1 + flags.get("open_reference", False), "warp": warp}
    absent = {"window": None}
    tiny |= {new: out.get(old, absent.get(old, False)) for old, new in TINY_SETTINGS.items()}
    return {key: value for key, value in out.items() if key not in _OLD_TINY} | {"tiny": tiny}


_TINY_FLAGS = ("still_reference", "open_reference", "posed_references", "shaped_references")
_OLD_TINY = {*TINY_SETTINGS, *_TINY_FLAGS}
