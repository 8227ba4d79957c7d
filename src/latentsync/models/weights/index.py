"""What a model folder says of itself: `model_index.json`, read and written. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentsync.config import renamed
from latentsync.config.checked import as_kind, checked
from latentsync.core import reading
from latentsync.core.errors import ConfigError, MediaError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.models.weights.licence import Licence

INDEX = "model_index.json"
CONFIG, TENSORS = "config.json", "model.safetensors"
FORMAT_VERSION = 1
INDEX_BYTES = 1 << 24
"""Most that an index or a network's config has."""
AGAIN = "Convert or download the model again"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartEntry:
    """A part of a model folder: class of the network, file name → SHA-256, and the folder where it lies (None = one of
    the part's name)."""

    class_name: str
    files: Mapping[str, str]
    folder: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIndex:
    """What `model_index.json` says.

    Attributes:
        name: of the model, for people and for the output's metadata.
        parts: by part name.
        settings: plain JSON that the pipeline reads: resolution, frames a chunk, sampler, default steps, …
        licences: of all parts.
        provenance: plain JSON: source files and hashes, training data, version.
    """

    name: str
    parts: Mapping[str, PartEntry]
    settings: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """`model_index.json` as it is written."""

    name: str
    parts: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def is_model_folder(folder: Path) -> bool:
    """Is this a folder written by `save_model`?"""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> ModelIndex:
    """Read `model_index.json`.

    Raises:
        WeightsError: there is none, it's damaged, or a newer version wrote it.
    """
    path = folder / INDEX
    if not path.is_file():
        raise WeightsError(f"{folder}: no {INDEX}. Give a folder made by `latentsync models convert`")
    content = read_json(path)
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise WeightsError(f"{path}: format version {version!r}, this is for {FORMAT_VERSION}. Update latentsync")
    try:
        content = {key: value for key, value in content.items() if key not in ("_class_name", "format_version")}
        described = checked(_Content, content)
        return ModelIndex(
            name=described.name,
            parts={
                renamed.PARTS.get(part, part): PartEntry(
                    class_name=_class_name(entry["class"]),
                    files={name: as_kind("sha256", digest, str) for name, digest in entry["sha256"].items()},
                    folder=checked_name(part),
                )
                for part, entry in described.parts.items()
            },
            settings=described.settings,
            licences=tuple(replace(each, part=renamed.PARTS.get(each.part, each.part)) for each in described.licences),
            provenance=described.provenance,
        )
    except (KeyError, TypeError, AttributeError, ConfigError, WeightsError) as error:
        raise WeightsError(f"{path}: damaged ({error}). {AGAIN}") from error


def _class_name(given: Any) -> str:
    name = as_kind("class", given, str)
    return renamed.CLASSES.get(name, name)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises: WeightsError: the file is missing, damaged or something else."""
    try:
        content = reading.read_json(path, INDEX_BYTES)
    except MediaError as error:
        raise WeightsError(f"{error} {AGAIN}") from error
    except ValueError as error:
        raise WeightsError(f"{path}: not readable ({error}). {AGAIN}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object. {AGAIN}")
    return content


def checked_name(part: str) -> str:
    """The name of a part, fit for a folder. Raises: WeightsError: it is not."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", part):
        raise WeightsError(f"{part!r}: not a part's name. Use small letters, digits and _")
    return part


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
